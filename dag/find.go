package dag

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
)

// Errors that [Find] wraps besides [ErrMalformed] and [ErrCodec]. They are for good, too.
var (
	ErrInside = errors.New("the path ends inside the block")
	ErrNoName = errors.New("nothing of the name")
)

// maxShownName is how many characters of a name an error shows.
const maxShownName = 100

// Find follows names into a block of dag-cbor, cbor, dag-json or json: a name is the key
// of a map or the index in a list, which is a decimal number from 0 up, without a sign or
// zeros before it. It stops at the first link and returns it with the names that are
// left, none if the path ends there. A link is tag 42 (DAG-CBOR specification, "Links")
// or {"/": "CID"} (DAG-JSON specification, "Links"); cbor and json have none.
//
// Without a link, the error wraps
//
//   - [ErrInside] if the names end at a value that is none;
//   - [ErrNoName] if there is no such key or index, or if the value has none, as a text,
//     a number, or bytes in dag-json. Then rest are the names from that one on;
//   - [ErrMalformed] if the block is not valid, whether before or behind that place;
//   - [ErrCodec] if it is of another codec. Names in dag-pb are those of its links.
//
// What go-ipld-prime decodes, Find follows as its nodes do. It follows some blocks more:
// of keys that are there twice the first counts, keys of CBOR that are no texts have no
// name, and tags of CBOR other than 42 are passed over.
//
// Nothing is built: the cost is proportional to the bytes of the block, whatever they
// claim, and the memory does not depend on them, but for one text of JSON. Find holds no
// state.
func Find(c cid.Cid, data []byte, names []string) (link cid.Cid, rest []string, err error) {
	switch multicodec.Code(c.Type()) {
	case multicodec.DagCbor:
		link, rest, err = findCBOR(data, names, true)
	case multicodec.Cbor:
		link, rest, err = findCBOR(data, names, false)
	case multicodec.DagJson:
		link, rest, err = findJSON(data, names, true)
	case multicodec.Json:
		link, rest, err = findJSON(data, names, false)
	default:
		return cid.Undef, names, codecError(c)
	}
	switch {
	case err == nil:
		return link, rest, nil
	case errors.Is(err, ErrInside):
		return cid.Undef, nil, fmt.Errorf("%w %s", ErrInside, c)
	case errors.Is(err, ErrNoName):
		return cid.Undef, rest, fmt.Errorf("block %s has %w %.*q", c, ErrNoName, maxShownName, rest[0])
	}
	return cid.Undef, names, malformedError(c, err)
}

// listIndex returns the index in a list that a name is.
func listIndex(name string) (uint64, bool) {
	n, err := strconv.ParseUint(name, 10, 63)
	return n, err == nil && strconv.FormatUint(n, 10) == name
}

// findCBOR checks the whole block before it follows the names, so that what a path finds
// does not depend on where a fault is.
func findCBOR(data []byte, names []string, links bool) (cid.Cid, []string, error) {
	var each func(Link) error
	if links {
		each = func(Link) error { return nil }
	}
	if _, err := scanCBOR(data, each); err != nil {
		return cid.Undef, names, err
	}
	for {
		major, n, rest, tagged, err := cborBare(data)
		if err != nil {
			return cid.Undef, names, err
		}
		if links && tagged && major == cborBytes {
			var found cid.Cid
			err := cborCID(rest[:n], func(l Link) error { found = l.CID; return nil })
			return found, names, err
		}
		if len(names) == 0 {
			return cid.Undef, nil, ErrInside
		}
		there := false
		switch major {
		case cborMap:
			data, there, err = cborKey(rest, n, names[0])
		case cborArray:
			data, there, err = cborEntry(rest, n, names[0])
		}
		if err == nil && !there {
			err = ErrNoName
		}
		if err != nil {
			return cid.Undef, names, err
		}
		names = names[1:]
	}
}

// cborBare reads the head of an item behind its tags, the last of which is that of a link
// if it is tagged.
func cborBare(data []byte) (major byte, n uint64, rest []byte, tagged bool, err error) {
	for {
		major, n, data, err = cborHead(data)
		if err != nil || major != cborTag {
			return major, n, data, tagged, err
		}
		tagged = n == cborLink
	}
}

// cborKey returns data from the value on that has the name as its key, in a map of n
// pairs.
func cborKey(data []byte, n uint64, name string) (value []byte, there bool, err error) {
	for ; n > 0; n-- {
		major, size, rest, _, err := cborBare(data)
		if err != nil {
			return nil, false, err
		}
		if major == cborText && string(rest[:size]) == name {
			return rest[size:], true, nil
		}
		for range 2 { // the key and its value
			if data, _, err = cborItem(data, nil); err != nil {
				return nil, false, err
			}
		}
	}
	return nil, false, nil
}

// cborEntry returns data from the entry on that the name is the index of, in a list of n.
func cborEntry(data []byte, n uint64, name string) (entry []byte, there bool, err error) {
	index, ok := listIndex(name)
	if !ok || index >= n {
		return nil, false, nil
	}
	for range index {
		if data, _, err = cborItem(data, nil); err != nil {
			return nil, false, err
		}
	}
	return data, true, nil
}
