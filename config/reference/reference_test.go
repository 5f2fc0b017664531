package reference_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/config/reference"
)

var update = flag.Bool("update", false, "write docs/CONFIGURE.md")

const page = "../../docs/CONFIGURE.md"

func TestConfigureFollowsConfigYAML(t *testing.T) {
	yaml, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := reference.Markdown(string(yaml))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/CONFIGURE.md is not what config.yaml says; run: go generate ./config/reference")
	}
}

func TestMarkdown(t *testing.T) {
	got, err := reference.Markdown(`# Introduction, of the file.

# The folder.
data: ./data

# The operator.
admin:
  # The token; or
  # token_file.
  token: ""
  token_file: ""

  # Which:
  #   a    one
  #   b    the other
  listen: "127.0.0.1:8081"

# Hosts.
hosts:
  - {host: x}
  - y

# Websites.
sites: []
# - {host: a}
`)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ = strings.Cut(got, "changed.\n\n")
	want := "## `data`\n\ndefault `./data` · `SHOAL_DATA` · restart\n\nThe folder.\n\n" +
		"## admin\n\nThe operator.\n\n" +
		"### `admin.token`, `admin.token_file`\n\ndefault `\"\"` · `SHOAL_ADMIN_TOKEN`, `SHOAL_ADMIN_TOKEN_FILE` · reload\n\nThe token; or\ntoken_file.\n\n" +
		"### `admin.listen`\n\ndefault `\"127.0.0.1:8081\"` · `SHOAL_ADMIN_LISTEN` · restart\n\nWhich:\n\n    a    one\n    b    the other\n\n" +
		"## `hosts`\n\ndefault `[{host: x}, y]` · `SHOAL_HOSTS` · restart\n\nHosts.\n\n" +
		"## `sites`\n\ndefault `[]` · `SHOAL_SITES` · reload\n\nWebsites.\n\n    - {host: a}\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, wrong := range []string{"- a\n", "    deep: 1\n", "nothing\n"} {
		if _, err := reference.Markdown(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}
