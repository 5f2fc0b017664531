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

// scanJSON goes from token to token. The tokens { "/" "text" } are a link (DAG-JSON
// specification, "Links"), and nothing else has these four in a row. It returns how many
// tokens there are, and takes no link, as scanCBOR does.
func scanJSON(data []byte, link func(Link) error) (count int, err error) {
	tokens := json.NewDecoder(bytes.NewReader(data))
	tokens.UseNumber()
	var row [4]json.Token // the last of them
	for depth, first := 0, true; first || depth > 0; first = false {
		t, err := tokens.Token()
		switch {
		case errors.Is(err, io.EOF):
			return count, errCutOff
		case err != nil:
			return count, err
		}
		count++
		row = [4]json.Token{row[1], row[2], row[3], t}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxJSONDepth {
				return count, fmt.Errorf("its values are nested more than %d deep", maxJSONDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		text, ok := row[2].(string)
		if ok && link != nil && row[0] == json.Delim('{') && row[1] == "/" && t == json.Delim('}') {
			if err := jsonCID(text, link); err != nil {
				return count, err
			}
		}
	}
	if _, err := tokens.Token(); !errors.Is(err, io.EOF) {
		return count, errors.New("more follows its end")
	}
	return count, nil
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
