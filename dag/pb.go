package dag

import (
	"errors"
	"fmt"
	"math"

	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of the messages PBNode and PBLink (DAG-PB specification, "Serial Format").
const (
	nodeData  = 1
	nodeLinks = 2
	linkHash  = 1
	linkTsize = 3
)

// Node returns the links of a dag-pb block, which are at most most, and its data (a
// UnixFS message, as a rule), which shares the block's bytes. The error wraps
// [ErrMalformed] or [ErrLimit].
func Node(raw []byte, most int) (links []Link, data []byte, err error) {
	data, err = scanPB(raw, func(l Link) error {
		if len(links) == most {
			return fmt.Errorf("more than %d links, %w", most, ErrLimit)
		}
		links = append(links, l)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("%w dag-pb: %w", ErrMalformed, err)
	}
	return links, data, nil
}

// scanPB goes through the fields of a node, which may come in either order.
func scanPB(raw []byte, link func(Link) error) (data []byte, err error) {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		if kind != protowire.BytesType || field != nodeData && field != nodeLinks {
			return nil, fmt.Errorf("a node has no field %d of the type %d", field, kind)
		}
		value, size := protowire.ConsumeBytes(raw[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		raw = raw[n+size:]
		if field == nodeData {
			data = value
			continue
		}
		l, err := pbLink(value)
		if err != nil {
			return nil, fmt.Errorf("a link: %w", err)
		}
		if err := link(l); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// pbLink reads a link and leaves its name out.
func pbLink(raw []byte) (l Link, err error) {
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return l, protowire.ParseError(n)
		}
		value := raw[n:]
		size := protowire.ConsumeFieldValue(field, kind, value)
		if size < 0 {
			return l, protowire.ParseError(size)
		}
		raw = value[size:]
		switch {
		case field == linkHash && kind == protowire.BytesType && !l.CID.Defined():
			hash, _ := protowire.ConsumeBytes(value)
			if len(hash) > maxCID {
				return l, fmt.Errorf("a CID of %d bytes", len(hash))
			}
			if _, l.CID, err = cid.CidFromBytes(hash); err != nil {
				return l, err
			}
		case field == linkHash:
			return l, errors.New("it has more than one CID")
		case field == linkTsize && kind == protowire.VarintType:
			tsize, _ := protowire.ConsumeVarint(value)
			l.Size = int64(min(tsize, math.MaxInt64))
		}
	}
	if !l.CID.Defined() {
		return l, errors.New("it has no CID")
	}
	return l, nil
}
