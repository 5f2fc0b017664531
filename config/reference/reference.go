// Package reference makes docs/CONFIGURE.md out of config.yaml, whose comments are the
// one place where settings are described. A test holds the two equal; after a change
// of config.yaml, run
//
//	go generate ./config/reference
package reference

//go:generate go test -run TestConfigureFollowsConfigYAML -count 1 . -update

import (
	"fmt"
	"strings"

	"github.com/shoal-cdn/shoal/config"
)

// entry is one setting, or a group of them.
type entry struct {
	keys  []string // more than one when they share a description
	depth int
	text  []string // the comment above, without its marks
	value []string // the default, as it is written
	after []string // the comment below: examples
	group bool     // it has settings below it
}

// Markdown returns the page for a config.yaml in the form that ours has: two spaces of
// indentation, a comment above what it describes, and examples, commented out, directly
// below a setting.
func Markdown(yaml string) (string, error) {
	entries, err := parse(yaml)
	if err != nil {
		return "", err
	}
	var page strings.Builder
	page.WriteString(introduction)
	for _, e := range entries {
		e.write(&page)
	}
	return strings.TrimRight(page.String(), "\n") + "\n", nil
}

const introduction = `# Settings

<!-- Made from config.yaml by "go generate ./config/reference". Change that file, not this one. -->

Settings come from four places, each over the one before: the defaults below, the file
(` + "`--config FILE`, else `$SHOAL_CONFIG`, else `config.yaml` in the working directory" + `), the environment
(` + "`SHOAL_*`), and the command line (`--set key=value`" + `). Lists in the environment and on the command line are
written as YAML: ` + "`SHOAL_SITES='[{host: www.example.org, content: dnslink}]'`" + `. An unknown key, a value of the wrong
type or out of its range is one line that names it, and exit code 2.

    shoal config check      # validates
    shoal config print      # the effective settings, secrets masked

Every secret has a sibling setting that ends in ` + "`_file`" + ` and names a file to read it from. Sizes are bytes, or have
a unit: ` + "`512MiB`, `10GiB`, `10GB`. Durations are written as `30s`, `1m30s`, `500ms`" + `.

**reload** says that a running edge takes the setting over when it is told to read its settings again, by
` + "`shoal reload`, by `POST /api/v1/reload`" + ` on the admin listener, or by SIGHUP. All that can be taken over comes in
force at once, and no request fails because of it. Settings that are wrong change nothing, and the answer and the log
say why. **restart** says that the setting comes in force at the next start; a reload names those that were changed.

`

// parse reads the entries of a document in order.
func parse(yaml string) ([]*entry, error) {
	var entries []*entry
	var path []string
	var comment []string
	var last *entry
	for n, line := range strings.Split(strings.TrimRight(yaml, "\n"), "\n") {
		body := strings.TrimLeft(line, " ")
		depth := (len(line) - len(body)) / 2
		switch {
		case body == "":
			if last != nil && len(comment) > 0 {
				last.after = comment // directly below it, and above nothing
			}
			comment, last = nil, nil
		case strings.HasPrefix(body, "#"):
			comment = append(comment, strings.TrimPrefix(strings.TrimPrefix(body, "#"), " "))
		case strings.HasPrefix(body, "- "):
			if last == nil {
				return nil, fmt.Errorf("line %d: a list that belongs to no setting", n+1)
			}
			last.value = append(last.value, body)
		default:
			key, value, ok := strings.Cut(body, ":")
			if !ok || depth > len(path) {
				return nil, fmt.Errorf("line %d: %q: expected a setting", n+1, line)
			}
			path = append(path[:depth:depth], key)
			last = add(&entries, strings.Join(path, "."), depth, comment, last)
			if value = strings.TrimSpace(value); value != "" {
				last.value = append(last.value, value)
			}
			comment = nil
		}
	}
	if last != nil && len(comment) > 0 {
		last.after = comment
	}
	for i, e := range entries {
		e.group = i+1 < len(entries) && entries[i+1].depth > e.depth
	}
	return entries, nil
}

// add adds an entry. One without a comment that stands directly below another shares
// that one's.
func add(entries *[]*entry, key string, depth int, comment []string, above *entry) *entry {
	if len(comment) == 0 && above != nil && above.depth == depth {
		above.keys = append(above.keys, key)
		return above
	}
	e := &entry{keys: []string{key}, depth: depth, text: comment}
	*entries = append(*entries, e)
	return e
}

func (e *entry) write(page *strings.Builder) {
	if e.group {
		fmt.Fprintf(page, "## %s\n\n", e.keys[0])
		writeText(page, e.text)
		return
	}
	level := "##"
	if e.depth > 0 {
		level = "###"
	}
	fmt.Fprintf(page, "%s %s\n\n", level, strings.Join(quote(e.keys), ", "))
	var variables []string
	for _, k := range e.keys {
		variables = append(variables, config.Variable(k))
	}
	when := "restart"
	if config.Live(e.keys[0]) {
		when = "reload"
	}
	fmt.Fprintf(page, "default `%s` · %s · %s\n\n", e.defaultValue(), strings.Join(quote(variables), ", "), when)
	writeText(page, e.text)
	writeText(page, e.after)
}

// defaultValue is the default on one line.
func (e *entry) defaultValue() string {
	var items []string
	for _, v := range e.value {
		item, isItem := strings.CutPrefix(v, "- ")
		if !isItem {
			return v
		}
		items = append(items, item)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func quote(list []string) []string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = "`" + s + "`"
	}
	return quoted
}

// writeText writes a comment: prose as it is, and what is indented or is an entry of a
// list as code.
func writeText(page *strings.Builder, lines []string) {
	code := false
	for _, line := range lines {
		isCode := strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "- ")
		if isCode != code && !strings.HasSuffix(page.String(), "\n\n") {
			page.WriteString("\n")
		}
		if code = isCode; code {
			line = "    " + strings.TrimPrefix(line, "  ")
		}
		page.WriteString(line + "\n")
	}
	if len(lines) > 0 {
		page.WriteString("\n")
	}
}
