package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Tags of scalars in the core schema (YAML 1.2.2, section 10.3).
const (
	tagNull  = "!!null"
	tagBool  = "!!bool"
	tagInt   = "!!int"
	tagFloat = "!!float"
	tagText  = "!!str"
)

const (
	quotedStyles = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	blockStyles  = yaml.LiteralStyle | yaml.FoldedStyle
)

// scalarText returns the text of a scalar. No setting has line breaks at its end, which
// a block scalar without "-" always has.
func scalarText(n *yaml.Node) string {
	if n.Style&blockStyles != 0 {
		return strings.TrimRight(n.Value, "\r\n")
	}
	return n.Value
}

// tagOf returns what kind of scalar n is: what its tag says, or else a text if it has
// quotes or is a block, or what it looks like.
func tagOf(n *yaml.Node) (string, error) {
	if n.Style&yaml.TaggedStyle != 0 {
		switch n.Tag {
		case tagNull, tagBool, tagInt, tagFloat, tagText:
			return n.Tag, nil
		}
		return "", fmt.Errorf("the tag %q is not known; expected one of !!str, !!int, !!float, !!bool, !!null", n.Tag)
	}
	if n.Tag == "!" || n.Style&(quotedStyles|blockStyles) != 0 {
		return tagText, nil
	}
	return looksLike(n.Value), nil
}

// The library goes by YAML 1.1 in part: for it, 0123 is 83 and 1_0 is 10.
var (
	integers = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	floats   = regexp.MustCompile(`^([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// looksLike returns the tag of a plain scalar (YAML 1.2.2, section 10.3.2).
func looksLike(text string) string {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return tagNull
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return tagBool
	}
	switch {
	case integers.MatchString(text):
		return tagInt
	case floats.MatchString(text):
		return tagFloat
	}
	return tagText
}

// integer returns the number that a text of YAML stands for, from 0 up.
func integer(text string) (int64, bool) {
	if !integers.MatchString(text) {
		return 0, false
	}
	base := 10
	switch {
	case strings.HasPrefix(text, "0o"):
		text, base = text[2:], 8
	case strings.HasPrefix(text, "0x"):
		text, base = text[2:], 16
	}
	n, err := strconv.ParseInt(text, base, 64)
	return n, err == nil && n >= 0 && n < 1<<62
}
