# syntax=docker/dockerfile:1

# Needs BuildKit, for the caches and for the platforms. The binary is built on the
# builder's own platform and cross-compiled, so that a multi-platform build needs no
# emulation.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=""
# CGO_ENABLED=0 makes it static: the last stage has no C library.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X github.com/shoal-cdn/shoal/cli.Version=$VERSION" -o /out/shoal . \
 && mkdir -p /out/root/data && chmod 0770 /out/root/data

FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION=""
LABEL org.opencontainers.image.title="shoal" \
      org.opencontainers.image.description="A content-addressed CDN edge server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/shoal-cdn/shoal" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /out/shoal /usr/local/bin/shoal
# The settings; mount another file over it, or set SHOAL_* variables.
COPY config.yaml /etc/shoal/config.yaml
# Group 0 may write too, for platforms that run containers under a random UID. A fresh
# volume takes owner and mode from here. The folder is copied with its parent, because
# BuildKit gives a folder that is named itself another mode.
COPY --from=build --chown=65532:0 /out/root/ /
ENV SHOAL_CONFIG=/etc/shoal/config.yaml \
    SHOAL_DATA=/data
VOLUME /data
EXPOSE 8080
USER 65532:65532
# An edge that opens a large store does not answer yet.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["/usr/local/bin/shoal", "health"]
ENTRYPOINT ["/usr/local/bin/shoal"]
CMD ["serve"]
