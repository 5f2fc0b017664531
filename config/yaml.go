package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

const (
	// maxDepth is how deep values may be nested; settings are four deep at most.
	maxDepth = 32
	// maxAliased is how many values the aliases of a file may stand for in all. Nine
	// lines of aliases to aliases could stand for thousands of millions.
	maxAliased = 1 << 16
)

// A value is what a YAML document has in one place, whatever form it is written in:
// aliases, merge keys and tags are resolved.
type value struct {
	kind    yaml.Kind // ScalarNode, SequenceNode or MappingNode
	line    int       // 0 if it did not come from a file
	tag     string    // of a scalar
	text    string    // of a scalar, without its quotes
	list    []*value
	entries []entry // of a mapping, in the order of the document
}

type entry struct {
	name  string
	line  int // of the name
	value *value
}

// textOf is a single value that is a text, whatever it looks like.
func textOf(text string) *value {
	return &value{kind: yaml.ScalarNode, tag: tagText, text: text}
}

// parse returns the root of a YAML document, nil if it is empty. Its errors begin with
// line and column, as far as they are known.
func parse(text []byte) (root *yaml.Node, err error) {
	// A running edge reads its file again on a reload. A fault in the library must not
	// end it.
	defer func() {
		if recover() != nil {
			root, err = nil, errors.New(" the YAML cannot be read; is there a bracket or a quote too many?")
		}
	}()
	loader, err := yaml.NewLoader(bytes.NewReader(withoutVersion(text)))
	if err != nil {
		return nil, oneLine(text, err)
	}
	var doc, next yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, oneLine(text, err)
	}
	switch err := loader.Load(&next); {
	case err == nil:
		return nil, errors.New(" the file holds more than one YAML document; expected one")
	case !errors.Is(err, io.EOF):
		return nil, oneLine(text, err)
	}
	if doc.Kind == yaml.DocumentNode {
		if len(doc.Content) == 0 {
			return nil, nil
		}
		return doc.Content[0], nil
	}
	return &doc, nil
}

// withoutVersion returns text with a comment in the place of each directive before the
// document that has no say in what it means: %YAML 1.2, which the library takes for a
// version that it cannot read, and those that are not known (YAML 1.2.2, section 6.8).
func withoutVersion(text []byte) []byte {
	text = bytes.Clone(text)
	rest := bytes.TrimPrefix(text, []byte("\ufeff"))
	for {
		line := rest
		if i := bytes.IndexAny(rest, "\r\n"); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		start := bytes.TrimLeft(line, " \t")
		switch {
		case bytes.HasPrefix(line, []byte("%TAG")), bytes.HasPrefix(line, []byte("%YAML")) && !bytes.HasPrefix(line, []byte("%YAML 1.")):
		case bytes.HasPrefix(line, []byte("%")):
			line[0] = '#'
		case len(start) > 0 && start[0] != '#', len(rest) == 0:
			return text
		}
	}
}

// oneLine shortens the YAML library's error about text to the place and the reason.
func oneLine(text []byte, err error) error {
	var at *yaml.LoadError
	if errors.As(err, &at) && at.Mark.Line > 0 {
		first, _, _ := strings.Cut(at.Message, "\n")
		if strings.HasSuffix(first, "expected ',' or '}'") && beginsWithColon(text, at.Mark) {
			first = "a value that begins with a colon, inside of {} and behind a tag or an anchor, must be in quotes"
		}
		return fmt.Errorf("%d:%d: %s", at.Mark.Line, at.Mark.Column, first)
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return fmt.Errorf(" %s", first)
}

// beginsWithColon reports whether the fault at the mark is that the library takes the
// colon of {listen: &l :8080} for that behind a key, as it does not without the anchor.
func beginsWithColon(text []byte, at yaml.Mark) bool {
	lines := strings.Split(string(text), "\n")
	if at.Line > len(lines) || at.Column < 2 {
		return false
	}
	line := []rune(strings.TrimPrefix(lines[at.Line-1], "\ufeff"))
	return at.Column < len(line) && line[at.Column-1] == ':' && line[at.Column] != ' '
}

// A resolver turns nodes into values. It lasts for one document.
type resolver struct {
	inside  map[*yaml.Node]bool // what the aliases that are being followed stand for
	aliased int                 // values below aliases so far
	depth   int
}

// resolve returns the value of a node, nil of none. key is its path, for errors, which
// are settingErrors.
func resolve(key string, n *yaml.Node) (*value, error) {
	if n == nil {
		return nil, nil
	}
	r := resolver{inside: map[*yaml.Node]bool{}}
	return r.value(key, n)
}

func (r *resolver) value(key string, n *yaml.Node) (*value, error) {
	wrong := func(format string, args ...any) (*value, error) {
		return nil, &settingError{key, n.Line, fmt.Errorf(format, args...)}
	}
	if r.depth++; r.depth > maxDepth {
		return wrong("values are nested more than %d deep", maxDepth)
	}
	defer func() { r.depth-- }()
	if len(r.inside) > 0 {
		if r.aliased++; r.aliased > maxAliased {
			return wrong("the aliases stand for more than %d values", maxAliased)
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		return r.alias(key, n)
	case yaml.ScalarNode:
		tag, err := tagOf(n)
		if err != nil {
			return wrong("%w", err)
		}
		return &value{kind: n.Kind, line: n.Line, tag: tag, text: scalarText(n)}, nil
	case yaml.SequenceNode:
		if tag := n.Tag; tag != "!!seq" && tag != "!" {
			return wrong("the tag %q makes no sense here; a list needs none", tag)
		}
		return r.sequence(key, n)
	case yaml.MappingNode:
		if tag := n.Tag; tag != "!!map" && tag != "!" {
			return wrong("the tag %q makes no sense here; settings need none", tag)
		}
		return r.mapping(key, n)
	}
	return wrong("this form of YAML is not known")
}

func (r *resolver) alias(key string, n *yaml.Node) (*value, error) {
	if r.inside[n.Alias] {
		return nil, &settingError{key, n.Line, fmt.Errorf("the alias *%s lies inside of what it stands for", n.Value)}
	}
	r.inside[n.Alias] = true
	defer delete(r.inside, n.Alias)
	v, err := r.value(key, n.Alias)
	if err != nil {
		return nil, err
	}
	// What is wrong with it as a whole is wrong where it is used.
	v.line = n.Line
	return v, nil
}

func (r *resolver) sequence(key string, n *yaml.Node) (*value, error) {
	v := &value{kind: n.Kind, line: n.Line, list: make([]*value, 0, len(n.Content))}
	for i, item := range n.Content {
		sub, err := r.value(fmt.Sprintf("%s[%d]", key, i), item)
		if err != nil {
			return nil, err
		}
		v.list = append(v.list, sub)
	}
	return v, nil
}

// mapping resolves settings. Those that stand there themselves win over merged ones,
// wherever the merge key is (https://yaml.org/type/merge.html).
func (r *resolver) mapping(key string, n *yaml.Node) (*value, error) {
	v := &value{kind: n.Kind, line: n.Line}
	lines := map[string]int{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if isMerge(n.Content[i]) {
			merges = append(merges, n.Content[i+1])
			continue
		}
		e, err := r.entry(key, n.Content[i], n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if first, twice := lines[e.name]; twice {
			return nil, &settingError{join(key, e.name), e.line, fmt.Errorf("it is there twice; the first one is on line %d", first)}
		}
		lines[e.name] = e.line
		v.entries = append(v.entries, e)
	}
	for _, source := range merges {
		merged, err := r.merged(key, source)
		if err != nil {
			return nil, err
		}
		for _, e := range merged {
			if _, there := lines[e.name]; !there {
				lines[e.name] = e.line
				v.entries = append(v.entries, e)
			}
		}
	}
	return v, nil
}

func (r *resolver) entry(key string, name, n *yaml.Node) (entry, error) {
	k, err := r.value(key, name)
	if err != nil {
		return entry{}, err
	}
	if k.kind != yaml.ScalarNode {
		return entry{}, &settingError{key, name.Line, errors.New("a list or a group cannot be the name of a setting")}
	}
	v, err := r.value(join(key, k.text), n)
	return entry{k.text, k.line, v}, err
}

// merged returns the settings that a merge key names: those of one group, or of a list
// of groups, of which the first wins.
func (r *resolver) merged(key string, n *yaml.Node) ([]entry, error) {
	v, err := r.value(key, n)
	if err != nil {
		return nil, err
	}
	groups := []*value{v}
	if v.kind == yaml.SequenceNode {
		groups = v.list
	}
	var all []entry
	for _, g := range groups {
		if g.kind != yaml.MappingNode {
			return nil, &settingError{key, n.Line, errors.New("<< expects a group of settings, or a list of groups")}
		}
		all = append(all, g.entries...)
	}
	return all, nil
}

func isMerge(name *yaml.Node) bool {
	return name.Kind == yaml.ScalarNode && name.Tag == "!!merge" && name.Value == "<<"
}
