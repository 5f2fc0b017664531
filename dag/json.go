package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
)

// maxCIDText is the longest CID in dag-json: one of maxCID bytes in base 16.
const maxCIDText = 1 + 2*maxCID

// maxJSONDepth is how deep values may be nested, the same as for other decoders: the
// standard library keeps a word for each level.
const maxJSONDepth = 1024

// scanJSON goes from token to token, and returns how many there are. It takes no link,
// as scanCBOR does.
func scanJSON(data []byte, link func(Link) error) (count int, err error) {
	return readJSON(data, link).drain()
}

// jsonTokens are those of a block, which has one value. The tokens { "/" "text" } are a
// link (DAG-JSON specification, "Links"), and nothing else has these four in a row.
type jsonTokens struct {
	decoder *json.Decoder
	link    func(Link) error // nil if links are values like others
	row     [4]json.Token    // the last of them
	depth   int
	count   int
}

func readJSON(data []byte, link func(Link) error) *jsonTokens {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	return &jsonTokens{decoder: decoder, link: link}
}

// next returns the next token of the value, and reports the link that ends with it.
func (s *jsonTokens) next() (json.Token, error) {
	t, err := s.decoder.Token()
	switch {
	case errors.Is(err, io.EOF):
		return nil, errCutOff
	case err != nil:
		return nil, err
	}
	s.count++
	s.row = [4]json.Token{s.row[1], s.row[2], s.row[3], t}
	switch t {
	case json.Delim('{'), json.Delim('['):
		if s.depth++; s.depth > maxJSONDepth {
			return nil, fmt.Errorf("its values are nested more than %d deep", maxJSONDepth)
		}
	case json.Delim('}'), json.Delim(']'):
		s.depth--
	}
	text, ok := s.row[2].(string)
	if ok && s.link != nil && s.row[0] == json.Delim('{') && s.row[1] == "/" && t == json.Delim('}') {
		if err := jsonCID(text, s.link); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// drain reads what is left of the value, behind which nothing may follow. It returns how
// many tokens the block has, up to a fault if there is one.
func (s *jsonTokens) drain() (count int, err error) {
	for s.count == 0 || s.depth > 0 {
		if _, err := s.next(); err != nil {
			return s.count, err
		}
	}
	if _, err := s.decoder.Token(); !errors.Is(err, io.EOF) {
		return s.count, errors.New("more follows its end")
	}
	return s.count, nil
}

func jsonCID(text string, link func(Link) error) error {
	if len(text) > maxCIDText {
		return fmt.Errorf("a link of %d characters", len(text))
	}
	c, err := cid.Decode(text)
	if err != nil {
		return fmt.Errorf("a link: %w", err)
	}
	return link(Link{CID: c})
}
