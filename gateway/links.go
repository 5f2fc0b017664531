package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// errCodec says that a block is of a codec whose links are not known.
var errCodec = errors.New("the block is in a format that this gateway cannot look into")

// linksOf returns a function that returns one link of a block after the other, as they
// lie in it, and cid.Undef at the end. The block is not decoded, which could take a
// hundred times its size.
func linksOf(b blocks.Block) (func() (cid.Cid, error), error) {
	codec, data := b.Cid().Prefix().Codec, b.RawData()
	if codec == cid.DagProtobuf {
		links, _, err := readDAG(data)
		return func() (cid.Cid, error) {
			link, ok, err := links.next()
			if !ok || err != nil {
				return cid.Undef, err
			}
			return link.cid()
		}, err
	}
	var found []cid.Cid
	if _, err := scan(codec, data, func(c cid.Cid) { found = append(found, c) }); err != nil {
		return nil, err
	}
	return func() (cid.Cid, error) {
		if len(found) == 0 {
			return cid.Undef, nil
		}
		next := found[0]
		found = found[1:]
		return next, nil
	}, nil
}

// Codecs that go-cid has no names for (https://github.com/multiformats/multicodec).
const (
	codecCBOR = 0x51
	codecJSON = 0x0200
)

// scan goes through a block that is not of dag-pb. It calls link for each link, in order,
// and returns how many values there are.
func scan(codec uint64, data []byte, link func(cid.Cid)) (values int, err error) {
	switch codec {
	case cid.Raw:
		return 1, nil
	case cid.DagCBOR:
		return scanCBOR(data, link)
	case codecCBOR:
		return scanCBOR(data, func(cid.Cid) {})
	case cid.DagJSON:
		return scanJSON(data, link)
	case codecJSON:
		return scanJSON(data, func(cid.Cid) {})
	}
	return 0, fmt.Errorf("%w: codec %#x", errCodec, codec)
}

// scanCBOR goes through CBOR (RFC 8949) from head to head. What nests is only counted: the
// heads that are due before the value is complete.
func scanCBOR(data []byte, link func(cid.Cid)) (values int, err error) {
	malformed := fmt.Errorf("%w: no CBOR", errNode)
	isLink := false
	for due := uint64(1); due > 0; due-- {
		major, arg, n := headOfCBOR(data)
		if n == 0 {
			return 0, malformed
		}
		data = data[n:]
		if isLink && major != 2 {
			return 0, malformed
		}
		switch major {
		case 2, 3: // bytes, text
			if arg > uint64(len(data)) {
				return 0, malformed
			}
			if isLink {
				// https://ipld.io/specs/codecs/dag-cbor/spec/: the CID behind a zero
				if arg == 0 || data[0] != 0 {
					return 0, malformed
				}
				c, err := cid.Cast(data[1:arg])
				if err != nil {
					return 0, fmt.Errorf("%w: %w", errNode, err)
				}
				link(c)
			}
			data = data[arg:]
		case 4, 5: // lists, maps
			if arg > uint64(len(data)) {
				return 0, malformed
			}
			due += arg * uint64(major-3)
		case 6: // tags
			due++
		}
		isLink = major == 6 && arg == 42
		values++
	}
	if len(data) > 0 {
		return 0, malformed
	}
	return values, nil
}

// headOfCBOR reads the head of a value, of n bytes; 0 where there is none.
func headOfCBOR(data []byte) (major byte, arg uint64, n int) {
	if len(data) == 0 {
		return 0, 0, 0
	}
	major, arg = data[0]>>5, uint64(data[0]&31)
	if arg < 24 {
		return major, arg, 1
	}
	size := 1 << (arg - 24)
	if arg > 27 || len(data) <= size { // lengths that are not known yet are not allowed
		return 0, 0, 0
	}
	arg = 0
	for _, b := range data[1 : 1+size] {
		arg = arg<<8 | uint64(b)
	}
	return major, arg, 1 + size
}

// scanJSON goes through JSON. A link is a map whose only key is a slash, with a text
// (https://ipld.io/specs/codecs/dag-json/spec/).
func scanJSON(data []byte, link func(cid.Cid)) (values int, err error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var last [2]json.Token
	for ; ; values++ {
		t, err := d.Token()
		if err == io.EOF && values > 0 {
			return values, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%w: no JSON: %w", errNode, err)
		}
		if text, ok := t.(string); ok && last[0] == json.Delim('{') && last[1] == "/" {
			c, err := cid.Decode(text)
			if err != nil {
				return 0, fmt.Errorf("%w: %w", errNode, err)
			}
			link(c)
		}
		last[0], last[1] = last[1], t
	}
}
