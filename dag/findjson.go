package dag

import (
	"encoding/json"

	"github.com/ipfs/go-cid"
)

// findJSON follows names as the tokens come, and then reads on to the end for faults.
func findJSON(data []byte, names []string, links bool) (cid.Cid, []string, error) {
	var each func(Link) error
	if links {
		each = func(Link) error { return nil }
	}
	f := jsonFinder{tokens: readJSON(data, each), links: links}
	found, rest, err := f.follow(names)
	if f.fault != nil {
		return cid.Undef, names, f.fault
	}
	if _, fault := f.tokens.drain(); fault != nil {
		return cid.Undef, names, fault
	}
	return found, rest, err
}

// A jsonFinder follows names from token to token.
type jsonFinder struct {
	tokens *jsonTokens
	links  bool         // the codec is dag-json
	ahead  []json.Token // tokens that were looked at and not taken, six at most
	fault  error        // of the block; from then on, tokens are nil
}

func (f *jsonFinder) follow(names []string) (found cid.Cid, rest []string, err error) {
	for {
		if text, ok := f.link(); ok {
			err := jsonCID(text, func(l Link) error { found = l.CID; return nil })
			return found, names, err
		}
		bytes := f.bytes()
		if len(names) == 0 {
			return cid.Undef, nil, ErrInside
		}
		there := false
		if !bytes {
			switch f.take() {
			case json.Delim('{'):
				there = f.key(names[0])
			case json.Delim('['):
				there = f.entry(names[0])
			}
		}
		if !there {
			return cid.Undef, names, ErrNoName
		}
		names = names[1:]
	}
}

// look returns the token that comes after i others, without taking it.
func (f *jsonFinder) look(i int) json.Token {
	for len(f.ahead) <= i {
		f.ahead = append(f.ahead, f.read())
	}
	return f.ahead[i]
}

func (f *jsonFinder) take() json.Token {
	if len(f.ahead) == 0 {
		return f.read()
	}
	t := f.ahead[0]
	f.ahead = f.ahead[:copy(f.ahead, f.ahead[1:])]
	return t
}

func (f *jsonFinder) read() json.Token {
	if f.fault != nil {
		return nil
	}
	t, err := f.tokens.next()
	f.fault = err
	return t
}

// link returns the text of the link that comes next, if one does.
func (f *jsonFinder) link() (string, bool) {
	if !f.links || f.look(0) != json.Delim('{') || f.look(1) != "/" {
		return "", false
	}
	text, ok := f.look(2).(string)
	return text, ok && f.look(3) == json.Delim('}')
}

// bytes reports whether {"/": {"bytes": "..."}} comes next (DAG-JSON specification,
// "Bytes"), which is a single value.
func (f *jsonFinder) bytes() bool {
	if !f.links || f.look(0) != json.Delim('{') || f.look(1) != "/" || f.look(2) != json.Delim('{') || f.look(3) != "bytes" {
		return false
	}
	_, ok := f.look(4).(string)
	return ok && f.look(5) == json.Delim('}') && f.look(6) == json.Delim('}')
}

// key goes on in a map until the value that has the name as its key.
func (f *jsonFinder) key(name string) bool {
	for f.fault == nil {
		switch t := f.take(); t {
		case json.Delim('}'):
			return false
		case name:
			return f.fault == nil
		}
		f.skip()
	}
	return false
}

// entry goes on in a list until the entry that the name is the index of.
func (f *jsonFinder) entry(name string) bool {
	index, ok := listIndex(name)
	for ; ok && f.fault == nil && f.look(0) != json.Delim(']'); index-- {
		if index == 0 {
			return true
		}
		f.skip()
	}
	return false
}

// skip goes over a value.
func (f *jsonFinder) skip() {
	for depth := 0; f.fault == nil; {
		switch f.take() {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return
		}
	}
}
