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
	linkName  = 2
	linkTsize = 3
)

// PBLinks reads the links of a dag-pb block one after the other, where they lie: a
// decoded link takes ten times the bytes. A copy goes on by itself from the same place.
type PBLinks struct {
	Left int    // links that are still to come
	rest []byte // from the next link on
}

// PBLink is a link as it lies in its block, whose bytes it shares.
type PBLink struct {
	Hash, Name []byte
	Size       uint64 // of the DAG below in bytes, as the writer has it (Tsize)
}

// ReadPB takes a dag-pb block apart into its links and its data (a UnixFS message, as a
// rule), which may come in either order. Both share the block's bytes. With an error, it
// returns what comes before the fault.
func ReadPB(raw []byte) (links PBLinks, data []byte, err error) {
	end := 0 // of the last link
	for at := 0; at < len(raw); {
		field, kind, n := protowire.ConsumeTag(raw[at:])
		if n < 0 {
			return links, data, protowire.ParseError(n)
		}
		if kind != protowire.BytesType || field != nodeData && field != nodeLinks {
			return links, data, fmt.Errorf("a node has no field %d of the type %d", field, kind)
		}
		value, size := protowire.ConsumeBytes(raw[at+n:])
		if size < 0 {
			return links, data, protowire.ParseError(size)
		}
		next := at + n + size
		switch {
		case field == nodeData && data == nil:
			data = value
		case field == nodeLinks && links.Left == 0:
			links, end = PBLinks{1, raw[at:]}, next
		case field == nodeLinks && end == at:
			links.Left, end = links.Left+1, next
		default:
			return links, data, fmt.Errorf("its field %d is there twice", field)
		}
		at = next
	}
	return links, data, nil
}

// Next returns the next link; ok is false at the end.
func (l *PBLinks) Next() (link PBLink, ok bool, err error) {
	if l.Left == 0 {
		return PBLink{}, false, nil
	}
	_, _, n := protowire.ConsumeTag(l.rest)
	value, m := protowire.ConsumeBytes(l.rest[n:])
	l.rest, l.Left = l.rest[n+m:], l.Left-1
	for len(value) > 0 {
		field, kind, n := protowire.ConsumeTag(value)
		m := -1
		switch {
		case n < 0:
		case field == linkHash && link.Hash != nil:
			return PBLink{}, false, errors.New("a link has more than one CID")
		case field == linkHash && kind == protowire.BytesType:
			link.Hash, m = protowire.ConsumeBytes(value[n:])
		case field == linkName && kind == protowire.BytesType:
			link.Name, m = protowire.ConsumeBytes(value[n:])
		case field == linkTsize && kind == protowire.VarintType:
			link.Size, m = protowire.ConsumeVarint(value[n:])
		}
		if m < 0 {
			return PBLink{}, false, errors.New("a link is cut off, or has a field that links do not have")
		}
		value = value[n+m:]
	}
	return link, true, nil
}

// CID returns where the link leads.
func (l PBLink) CID() (cid.Cid, error) {
	if len(l.Hash) == 0 {
		return cid.Undef, errors.New("a link has no CID")
	}
	if len(l.Hash) > maxCID {
		return cid.Undef, fmt.Errorf("a link has a CID of %d bytes", len(l.Hash))
	}
	_, c, err := cid.CidFromBytes(l.Hash)
	if err != nil {
		return cid.Undef, fmt.Errorf("a link: %w", err)
	}
	return c, nil
}

func scanPB(raw []byte, link func(Link) error) error {
	links, _, malformed := ReadPB(raw)
	for {
		l, ok, err := links.Next()
		if err != nil {
			return err
		}
		if !ok {
			return malformed
		}
		c, err := l.CID()
		if err != nil {
			return err
		}
		if err := link(Link{c, int64(min(l.Size, math.MaxInt64))}); err != nil {
			return err
		}
	}
}
