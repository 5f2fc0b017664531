package chart

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the table of values into the chart's README.md")

const (
	tableBegins = "<!-- values: written by `go test -run Readme -update` in tests/, from values.yaml -->\n"
	tableEnds   = "<!-- end of values -->\n"
)

// The table in README.md says what values.yaml says.
func TestReadme(t *testing.T) {
	path := filepath.Join(chartDir, "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(text), tableBegins)
	_, after, ended := strings.Cut(rest, tableEnds)
	if !found || !ended {
		t.Fatal("README.md has no place for the values")
	}
	want := before + tableBegins + "\n" + valuesTable(t) + "\n" + tableEnds + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Error("README.md is not what values.yaml makes it; run: go test -run Readme -update")
	}
}

func valuesTable(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| value | default | meaning |\n|---|---|---|\n")
	writeValues(t, &b, "", doc.Content[0])
	return b.String()
}

// writeValues writes a row for each value below a mapping. A mapping whose values
// have comments of their own is a group; any other is one value. A comment above a
// group goes with the group.
func writeValues(t *testing.T, b *strings.Builder, prefix string, mapping *yaml.Node) {
	t.Helper()
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		name, comment := prefix+key.Value, strings.Join(strings.Fields(strings.ReplaceAll(lastParagraph(key.HeadComment), "#", "")), " ")
		if isGroup(value) {
			if comment != "" {
				b.WriteString("| **`" + name + "`** | | " + comment + " |\n")
			}
			writeValues(t, b, name+".", value)
			continue
		}
		if comment == "" {
			t.Errorf("values.yaml: %s has no comment", name)
		}
		b.WriteString("| `" + name + "` | `" + inline(t, value) + "` | " + strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(comment) + " |\n")
	}
}

// lastParagraph leaves out the comment at the top of the file.
func lastParagraph(comment string) string {
	return comment[strings.LastIndex(comment, "\n\n")+1:]
}

func isGroup(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].HeadComment != "" || isGroup(n.Content[i+1]) {
			return true
		}
	}
	return false
}

// inline writes a value as one line of JSON, which is YAML, too.
func inline(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var value any
	if err := n.Decode(&value); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}
