package config_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/config"
)

// fleet is what settings of a fleet are not valid without.
var fleet = []string{"SHOAL_SWARM_SECRET=" + strings.Repeat("fleet", 13)}

// escaped writes each character of text as an escape of a double-quoted scalar.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, `\u%04X`, r)
	}
	return b.String()
}

// forms are those that a text may have. $G is a group and $K a key in it, $T the text
// and $E the same in escapes.
var forms = []string{
	// Plain and quoted.
	"$G:\n $K: $T", "$G:\n  $K:   $T   \n", "$G:\n  $K:\t$T\t\n", "$G:\n  $K: $T # why\n", "$G:\n  $K: # why\n    # more\n\n    $T\n", "$G:\n  $K:\n        $T\n", "$G: # why\n  $K: $T\n# end",
	"$G:\n  $K: '$T'", "$G:\n  $K: \"$T\"", "$G:\n  $K: \"$E\"", "$G:\n  $K: \"\\\n    $E\"", "$G:\n  $K: \"$E\\\n  \"", "$G:\n  '$K': '$T' # why", "\"$G\":\n  \"$K\": \"$T\"", "$G:\n  $K:\n    '$T'",
	// Blocks.
	"$G:\n  $K: |\n    $T\n", "$G:\n  $K: |-\n    $T\n", "$G:\n  $K: |+\n    $T\n\n\n", "$G:\n  $K: |1-\n   $T\n", "$G:\n  $K: |-1\n   $T\n", "$G:\n  $K: | # why\n    $T",
	"$G:\n  $K: >\n    $T\n", "$G:\n  $K: >-\n    $T\n", "$G:\n  $K: >+\n    $T\n\n", "$G:\n  $K: >2-\n    $T\n",
	// Explicit keys.
	"? $G\n: ? $K\n  : $T\n", "? $G\n: $K: $T\n", "? \"$G\"\n:\n  ? '$K'\n  :\n    $T\n",
	// Flow.
	"{$G: {$K: $T}}", "{$G: {$K: $T,},}", "{\"$G\":{\"$K\":\"$T\"}}", "{'$G':{'$K':\"$E\"}}", "{$G: {$K: '$T'}}", "$G: {$K: $T}", "$G: { $K: $T }", "$G:\n  {$K: $T}\n", "$G: {\n  $K: $T\n}\n",
	"$G: {\n  $K:\n    $T\n  ,\n  }\n", "$G: { # why\n  $K: # more\n    $T # yet more\n}\n", "{? $G : {? $K : $T}}", "{$G: {\t$K:\t$T\t}\t}", "{\n$G:\n{\n$K: $T}}", "$G: {\"$K\":\n '$T'}",
	// Tags, anchors, aliases, merge keys.
	"$G:\n  $K: !!str $T", "$G:\n  $K: ! $T", "$G:\n  $K: !!str '$T'", "$G:\n  $K: !!str\n    $T", "$G:\n  $K: !!str |-\n    $T", "$G: !!map\n  $K: !<tag:yaml.org,2002:str> $T", "%TAG !y! tag:yaml.org,2002:\n---\n$G: {$K: !y!str '$T'}",
	"$G:\n  $K: &a $T", "$G:\n  $K: &a !!str $T", "$G:\n  $K: !!str &a $T", "$G: &a {$K: $T}", "$G: &a\n  $K: $T", "&g $G: {&k $K: &v \"$T\"}", "&g $G:\n  &k $K: &v $T",
	"$G:\n  <<: {$K: $T}", "$G:\n  <<: &a {$K: $T}", "$G: {<<: [{$K: $T}, {$K: other}]}", "$G:\n  <<: {$K: other}\n  $K: $T", "$G:\n  $K: $T\n  <<: {$K: other}",
	// Documents.
	"---\n$G: {$K: $T}", "--- {$G: {$K: $T}}\n", "---\n$G: {$K: $T}\n...\n", "--- # why\n$G:\n  $K: $T\n...\n# end\n", "%YAML 1.2\n---\n$G:\n  $K: $T\n", "# why\n%YAML 1.2\n--- !!map\n$G:\n  $K: $T\n...", "\n\n  \n# why\n\n$G:\n    $K: $T", "\ufeff$G: {$K: $T}", "\ufeff---\n$G:\n  $K: $T\n",
}

var texts = []struct{ group, key, text string }{
	{"cache", "disk", "1GiB"}, {"cache", "memory", "1073741824"},
	{"gateway", "retrieval_timeout", "1m30s"}, {"gateway", "drain_timeout", "45s"},
	{"gateway", "listen", ":9090"}, {"gateway", "listen", "10.0.0.7:4001"}, {"swarm", "dns", "e1@10.0.0.7:4001"}, {"swarm", "zone", "http://x:80/?a=b&c#d"},
	{"swarm", "zone", "007"}, {"swarm", "zone", "true"}, {"swarm", "zone", "1e3"}, {"swarm", "zone", "2026-11-27"}, {"swarm", "zone", "0x1F"}, {"swarm", "zone", "yes"},
	{"admin", "token", "a-b_c:d"}, {"log", "level", "debug"},
}

func TestEveryFormOfAText(t *testing.T) {
	defaults := load(t, "", fleet, nil)
	for i, tc := range texts {
		block := load(t, tc.group+":\n  "+tc.key+": "+tc.text+"\n", fleet, nil)
		if reflect.DeepEqual(block.Config, defaults.Config) {
			t.Errorf("%s.%s: %s sets nothing", tc.group, tc.key, tc.text)
		}
		for _, form := range forms {
			text := strings.NewReplacer("$G", tc.group, "$K", tc.key, "$T", tc.text, "$E", escaped(tc.text)).Replace(form)
			ends := []string{"\n", "\r\n", "\r"}
			if i > 0 {
				ends = ends[:1]
			}
			for _, end := range ends {
				text := strings.ReplaceAll(text, "\n", end)
				got, err := config.Load(write(t, text), fleet, nil)
				if err != nil {
					t.Errorf("%q: %v", text, err)
				} else if !reflect.DeepEqual(got.Config, block.Config) {
					t.Errorf("%q is read as another value than in a block", text)
				}
			}
		}
	}
}

// Each form of lists, groups, numbers and switches is read as the first one is.
func TestEveryFormOfOtherValues(t *testing.T) {
	for name, forms := range map[string][]string{
		"a list of texts": {
			"swarm:\n  peers:\n    - e1@10.0.0.7:4001\n    - \"e2@[::1]:4001\"\n",
			"swarm:\n  peers:\n  - e1@10.0.0.7:4001\n  - 'e2@[::1]:4001'\n",
			"{swarm: {peers: [e1@10.0.0.7:4001, 'e2@[::1]:4001']}}",
			"swarm: {peers: [e1@10.0.0.7:4001, \"e2@[::1]:4001\",]}",
			"swarm:\n  peers: [e1@10.0.0.7:4001,'e2@[::1]:4001']",
			"swarm:\n  peers: [ # why\n    e1@10.0.0.7:4001, # more\n    # and more\n    \"e2@\\\n    [::1]:4001\"\n  ]\n",
			"swarm:\n  peers:\n    # why\n    - # more\n      e1@10.0.0.7:4001\n\n    -\te2@[::1]:4001\n",
			"swarm:\n  peers: !!seq\n    - &a e1@10.0.0.7:4001\n    - >-\n      e2@[::1]:4001\n",
			"swarm:\n  peers: &all\n    - |\n      e1@10.0.0.7:4001\n    - !!str e2@[::1]:4001\n",
			"swarm:\n  <<: {peers: [e1@10.0.0.7:4001, 'e2@[::1]:4001']}\n",
		},
		"a list of groups": {
			"sites:\n  - host: a.example\n    content: dnslink\n  - host: b.example\n    content: /ipns/c.example\n",
			"sites:\n- {host: a.example, content: dnslink}\n- {host: b.example, content: /ipns/c.example}\n",
			"sites: [{host: a.example, content: dnslink}, {host: b.example, content: /ipns/c.example}]",
			"sites: [{\"host\":\"a.example\",\"content\":\"dnslink\"},{\"host\":\"b.example\",\"content\":\"\\/ipns\\/c.example\"}]",
			"{\"sites\":[{\"host\":\"a.example\",\"content\":\"dnslink\"},{\"host\":\"b.example\",\"content\":\"/ipns/c.example\"}]}",
			"sites:\n  -\n    host: a.example\n    content: dnslink\n  -   content: /ipns/c.example\n      host:\n        b.example\n",
			"sites:\n- &a\n  host: a.example\n  content: dnslink\n- <<: *a\n  host: b.example\n  content: /ipns/c.example\n",
			"sites:\n- &a {host: a.example, content: dnslink}\n- {<<: *a, host: b.example, content: /ipns/c.example}\n",
			"sites:\n- &a {host: a.example, content: dnslink}\n- {<<: [{host: b.example}, {content: /ipns/c.example}, *a ]}\n",
			"sites:\n- ? host\n  : a.example\n  ? content\n  : dnslink\n- ? !!str host\n  : b.example\n  content: /ipns/c.example\n",
		},
		"an empty list":  {"gateway:\n  hosts: []\n", "gateway: {hosts: [ ]}", "gateway: {hosts: [\n# none\n]}", "gateway:\n  hosts: !!seq []", "gateway: {hosts: &none []}"},
		"an empty text":  {"gateway:\n  listen: :1\nswarm:\n  zone: \"\"\n", "gateway: {listen: :1}\nswarm: {zone: ''}", "gateway: {listen: :1}\nswarm:\n  zone: |\n", "gateway: {listen: :1}\nswarm:\n  zone: >-\n\n", "gateway: {listen: :1}\nswarm: {zone: !!str }", "gateway: {listen: :1}\nswarm: {zone: !!str ''}"},
		"a number":       {"gateway:\n  max_requests: 255\n", "gateway: {max_requests: 255}", "gateway: {max_requests: 0xFF}", "gateway: {max_requests: 0o377}", "gateway: {max_requests: +255}", "gateway: {max_requests: 0255}", "gateway: {max_requests: !!int 255}", "gateway: {max_requests: !!int '255'}", "gateway: {max_requests: &n 255}"},
		"a switch":       {"gateway:\n  compression: false\n", "gateway: {compression: false}", "gateway: {compression: False}", "gateway: {compression: FALSE}", "gateway: {compression: !!bool false}", "gateway: {compression: !!bool \"false\"}", "gateway: {compression: &no false, connect: *no }"},
		"the default":    {"", "\n", "# nothing\n", "---\n", "---\n...\n", "--- # nothing\n", "~", "null", "{}", "--- {}\n...\n", "\ufeff", "%YAML 1.2\n---\n", "!!null ''", "gateway:\n", "gateway: ~\n", "gateway: null", "gateway: {}", "gateway: {listen: }", "gateway: {listen, max_requests}", "gateway: {listen: ~, max_requests: null, compression: Null, hosts: NULL}", "gateway:\n  listen: !!null\n  hosts:\n", "gateway: &a\nswarm: *a\n", "{gateway, swarm: , cache: {disk: !!null ''}}", "log: &l {level: info}\n", "log: {<<: {}}", "log: {<<: []}"},
		"an alias":       {"cache: {memory: 2GiB, disk: 2GiB}\n", "cache: {memory: &s 2GiB, disk: *s }\n", "cache:\n  memory: &s 2GiB\n  disk: *s\n", "cache:\n  memory: &s !!str 2GiB\n  disk:\n    *s\n", "cache: {memory: &a-b.c/d 2GiB, disk: *a-b.c/d }", "cache: {<<: {memory: &s 2GiB}, disk: *s }", "cache: {&m memory: &s 2GiB, ? disk : *s }"},
		"folded lines":   {"swarm:\n  zone: one two\n", "swarm:\n  zone: one\n    two\n", "swarm: {zone: one\n two}", "swarm:\n  zone: 'one\n    two'\n", "swarm:\n  zone: \"one\n\t  two\"\n", "swarm:\n  zone: >\n    one\n    two\n", "swarm: {zone: \"one\\\n  \\ two\"}"},
		"all escapes":    {"swarm:\n  zone: \"\\u00e9\\x41\\U0001F600\\\\\\\"\\/'\\_\"\n", "swarm: {zone: \"\u00e9A\U0001F600\\\\\\\"/'\u00a0\"}", "swarm:\n  zone: '\u00e9A\U0001F600\\\"/''\u00a0'\n"},
		"a text of text": {"swarm:\n  zone: \"- a: [b], {c} # d\"\n", "swarm: {zone: '- a: [b], {c} # d'}", "swarm:\n  zone: |\n    - a: [b], {c} # d\n", "swarm:\n  zone: >-\n    - a: [b], {c} # d\n"},
	} {
		t.Run(name, func(t *testing.T) {
			first := load(t, forms[0], fleet, nil)
			for _, form := range forms {
				for _, end := range []string{"\n", "\r\n"} {
					text := strings.ReplaceAll(form, "\n", end)
					got, err := config.Load(write(t, text), fleet, nil)
					if err != nil {
						t.Errorf("%q: %v", text, err)
					} else if !reflect.DeepEqual(got.Config, first.Config) {
						t.Errorf("%q gives\n%+v, and %q\n%+v", text, got.Config, forms[0], first.Config)
					}
				}
			}
		})
	}
}

// laughs is a file of a few lines whose aliases stand for 9 to the power of 9 texts.
func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d , ", i), 8), i)
	}
	return b.String()
}

// What is no setting in YAML of any form is an error that says where and why.
func TestYAMLThatIsRefused(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"an alias to nothing":      {"name: a\ngateway: *g\n", "2:10: unknown anchor 'g'"},
		"an alias inside itself":   {"swarm:\n  peers: &p\n    - *p\n", "3: swarm.peers[0][0]: the alias *p lies inside of what it stands for"},
		"a merge inside itself":    {"cache: &c\n  <<: *c\n", "2: cache: the alias *c lies inside"},
		"a billion laughs":         {laughs(), "the aliases stand for more than 65536 values"},
		"merged laughs":            {"cache: &a {disk: 1GiB}\nlog: &a {<<: [*a , *a ]}\n", "the alias *a lies inside"},
		"an alias's wrong value":   {"name: &n x\ncache:\n  disk: *n\n", `3: cache.disk: "x" is not a size`},
		"a merge of a text":        {"cache:\n  <<: x\n", "2: cache: << expects a group of settings, or a list of groups"},
		"a merge of texts":         {"cache: {<<: [{}, x]}", "1: cache: << expects"},
		"a merge of what is wrong": {"cache: &c\n  disk: 1GiB\nlog:\n  <<: *c\n", "2: log.disk: unknown setting; expected one of level, format"},
		"a key twice":              {"cache: {disk: 1GiB, disk: 2GiB}", "1: cache.disk: it is there twice; the first one is on line 1"},
		"a key twice, quoted":      {"cache:\n  disk: 1GiB\n  \"disk\": 1GiB\n", "3: cache.disk: it is there twice; the first one is on line 2"},
		"a list as a key":          {"? [a, b]\n: c\n", "1: the document: a list or a group cannot be the name of a setting"},
		"a key of brackets":        {"\"[1\": x\n", `1: "[1": unknown setting`},
		"a key of lines":           {"? |\n  a\n  b\n: c\n", `1: "a\nb": unknown setting`},
		"an empty key":             {"cache:\n  : x\n", `2: cache."": unknown setting`},
		"a long key":               {strings.Repeat("k", 500) + ": x", `1: "` + strings.Repeat("k", 60) + `...": unknown setting`},
		"a tag of somebody":        {"name: !secret x\n", `1: name: the tag "!secret" is not known; expected one of !!str`},
		"binary":                   {"name: !!binary aGk=\n", `1: name: the tag "!!binary" is not known`},
		"a set":                    {"cache: !!set {disk}\n", `1: cache: the tag "!!set" makes no sense here`},
		"a list with a tag":        {"sites: !mine []\n", `1: sites: the tag "!mine" makes no sense here`},
		"a number in quotes":       {"gateway:\n  max_requests: '7'\n", `2: gateway.max_requests: "7" is a text by its quotes, its block or its tag, and not a whole number of 0 or more; write it plainly`},
		"a number in a block":      {"gateway:\n  max_requests: |\n    7\n", `"7" is a text by its quotes`},
		"a number with a tag":      {"gateway: {max_requests: !!str 7}", `"7" is a text by its quotes`},
		"a number of YAML 1.1":     {"gateway: {max_requests: 1_000}", `"1_000" is not a whole number`},
		"a number too large":       {"gateway: {max_requests: 99999999999999999999}", "is not a whole number of 0 or more"},
		"a switch in quotes":       {"gateway: {compression: \"true\"}", `"true" is a text by its quotes`},
		"a switch of YAML 1.1":     {"gateway: {compression: yes}", `"yes" is not true or false`},
		"a false switch":           {"gateway: {compression: !!bool maybe}", `"maybe" is not true or false`},
		"a list for a text":        {"name: [a]", "1: name: a list is not a text"},
		"a group for a size":       {"cache: {disk: {a: b}}", "1: cache.disk: a group of settings is not a single value"},
		"a pair without a space":   {"cache: {disk:1GiB}", `cache."disk:1GiB": unknown setting`},
		"a tab that indents":       {"cache:\n\tdisk: 1GiB\n", "2:1: "},
		"no end of a list":         {"name: a\nsites: [{host: a}\n", "3:1: did not find expected ',' or ']'"},
		"no end of quotes":         {"name: a\nlog: {level: \"info}\n", "3:1: found unexpected end of stream"},
		"an unknown escape":        {`name: "\q"`, "1:"},
		"a block in flow":          {"cache: {disk: |\n 1GiB}", "1:"},
		"a colon behind an anchor": {"gateway: {listen: &l :8080}", "1:22: a value that begins with a colon, inside of {} and behind a tag or an anchor, must be in quotes"},
		"a colon behind a tag":     {"# é\ngateway: {listen: !!str\n :8080}", "3:2: a value that begins with a colon"},
		"a reserved character":     {"name: @x", "1:"},
		"a second document":        {"name: a\n---\n", "more than one YAML document"},
		"another version":          {"%YAML 2.0\n--- {}\n", "1:"},
		"deep":                     {strings.Repeat("[", 1000) + strings.Repeat("]", 1000), "values are nested more than 32 deep"},
		"very deep":                {strings.Repeat("[", 100_000), "config.yaml:"},
		"not UTF-8":                {"name: \xff", "UTF-8"},
		"a zero byte":              {"name: a\x00b", "control characters"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := config.Load(write(t, tc.text), nil, nil)
			if err == nil {
				t.Fatalf("accepted: %+v", loaded.Config)
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 500 {
				t.Errorf("got  %s\nwant ...%s...", err, tc.want)
			}
		})
	}
}

// Lists outside of the file are written in every form, too, and need no brackets.
func TestListsWithoutAFile(t *testing.T) {
	want := load(t, "swarm: {peers: ['a@10.0.0.7:4001', 'b@10.0.0.8:4001']}", fleet, nil)
	for _, text := range []string{
		"a@10.0.0.7:4001, b@10.0.0.8:4001", "[a@10.0.0.7:4001,b@10.0.0.8:4001]", "- a@10.0.0.7:4001\n- b@10.0.0.8:4001\n", "'a@10.0.0.7:4001', \"b@10.0.0.8:4001\"",
		" [\n  a@10.0.0.7:4001, # why\n  b@10.0.0.8:4001\n]", "a@10.0.0.7:4001, b@10.0.0.8:4001 # why",
	} {
		if got := load(t, "", append(fleet[:1:1], "SHOAL_SWARM_PEERS="+text), nil); !reflect.DeepEqual(got.Swarm, want.Swarm) {
			t.Errorf("%q: %q", text, got.Swarm.Peers)
		}
	}
	one := load(t, "sites: [{host: a.example, content: dnslink}]", nil, nil)
	for _, text := range []string{"{host: a.example, content: dnslink}", "host: a.example\ncontent: dnslink", "- host: a.example\n  content: dnslink"} {
		if got := load(t, "", nil, []string{"sites=" + text}); !reflect.DeepEqual(got.Sites, one.Sites) {
			t.Errorf("%q: %+v", text, got.Sites)
		}
	}
}
