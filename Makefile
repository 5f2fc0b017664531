# What one wants to do with a clone. .ci/run is what a change must pass.
# The versions of the tools that are no part of the module stand in .ci/tools.

.PHONY: build test race lint bench image man release outdated deadcode

build: ## the program, static, as a release has it
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o shoal .

test: ## the tests; they need no network and no set-up
	go test ./...

race: ## the tests under the race detector; needs a C compiler
	CGO_ENABLED=1 go test -race ./...

lint: ## format, vet, staticcheck, golangci-lint, workflows
	test -z "$$(git ls-files '*.go' | xargs gofmt -l | tee /dev/stderr)"
	go vet ./...
	go vet -tags e2e ./e2e/...
	go tool staticcheck ./...
	.ci/tools golangci-lint run
	.ci/tools actionlint

bench: ## the figures of docs/PERFORMANCE.md; takes an hour on a quiet machine
	go -C bench run ./fleet
	go -C bench run ./http
	go -C bench run ./sim
	go -C bench run ./store
	go -C bench run ./scale
	go -C bench run ./pins list crdt database

image: ## the container image of this machine's platform; needs BuildKit
	docker buildx build --load -t shoal --build-arg VERSION=$$(git describe --tags --always --dirty) .

man: ## man/*.1, the manual pages
	go run ./cli/man man

release: ## what a release consists of, into dist/, without publishing it: make release VERSION=0.2.0
	.ci/release $(VERSION)

outdated: ## direct dependencies that have a newer version, of every module
	@for mod in $$(git ls-files 'go.mod' '*/go.mod'); do \
	  echo "$$mod"; \
	  go -C $$(dirname $$mod) list -m -u -e \
	    -f '{{if and .Update (not .Indirect)}}  {{.Path}} {{.Version}} -> {{.Update.Version}}{{end}}' all | grep . || true; \
	done

deadcode: ## functions that the program never calls
	.ci/tools deadcode .
