package hold

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// link is a CID that a block points to.
type link struct {
	cid cid.Cid
	// size is what the block claims about all that is below the link, in bytes
	// (Tsize of dag-pb); 0 when it says nothing.
	size int64
}

// codecMark returns the mark for having met a block under the codec of c.
func codecMark(c cid.Cid) mark {
	switch multicodec.Code(c.Type()) {
	case multicodec.Raw, multicodec.Cbor, multicodec.Json, multicodec.Libp2pKey:
		return markLeaf
	case multicodec.DagPb:
		return markDagPB
	case multicodec.DagCbor:
		return markDagCBOR
	case multicodec.DagJson:
		return markDagJSON
	}
	return markOther
}

// isLeaf reports whether the codec of c cannot express links.
func isLeaf(c cid.Cid) bool { return codecMark(c) == markLeaf }

// identityData returns the content of a CID that carries it in itself.
func identityData(c cid.Cid) ([]byte, bool) {
	if c.Prefix().MhType != multihash.IDENTITY {
		return nil, false
	}
	mh, err := multihash.Decode(c.Hash())
	return mh.Digest, err == nil
}

// errTooManyLinks ends the reading of a block that has more links than are allowed.
var errTooManyLinks = errors.New("too many links")

// linksOf returns what a block points to, in order. The error is a *refusal.
func linksOf(c cid.Cid, data []byte, most int) ([]link, error) {
	var found []link
	var err error
	switch codecMark(c) {
	case markLeaf:
		return nil, nil
	case markDagPB:
		found, err = linksOfDagPB(data, most)
	case markDagCBOR:
		all := collector{most: most}
		err = dagcbor.Decode(&all, bytes.NewReader(data))
		found = all.found
	case markDagJSON:
		all := collector{most: most}
		err = dagjson.Decode(&all, bytes.NewReader(data))
		found = all.found
	default:
		return nil, refuse("block %s has the codec %s, whose links cannot be followed; expected dag-pb, dag-cbor, dag-json or raw",
			c, multicodec.Code(c.Type()))
	}
	switch {
	case errors.Is(err, errTooManyLinks):
		return nil, refuse("block %s has more than %d links, the limit", c, most)
	case err != nil:
		return nil, refuse("block %s is not valid %s: %v", c, multicodec.Code(c.Type()), err)
	}
	return found, nil
}

func linksOfDagPB(data []byte, most int) ([]link, error) {
	nd, err := merkledag.DecodeProtobuf(data)
	if err != nil {
		return nil, err
	}
	if len(nd.Links()) > most {
		return nil, errTooManyLinks
	}
	found := make([]link, 0, len(nd.Links()))
	for _, l := range nd.Links() {
		size := int64(l.Size)
		if size < 0 {
			size = 1<<63 - 1
		}
		found = append(found, link{cid: l.Cid, size: size})
	}
	return found, nil
}

// collector takes a node apart while it is decoded and keeps nothing but its links:
// a block of 2 MiB can hold two million values, each many times as large once it is a
// node in memory.
type collector struct {
	found []link
	most  int
}

var (
	_ datamodel.NodeAssembler = (*collector)(nil)
	_ datamodel.MapAssembler  = mapEntries{}
	_ datamodel.ListAssembler = listEntries{}
)

// AssignLink keeps a link.
func (l *collector) AssignLink(to datamodel.Link) error {
	c, ok := to.(cidlink.Link)
	if !ok {
		return fmt.Errorf("link %s: expected a CID", to)
	}
	if len(l.found) == l.most {
		return errTooManyLinks
	}
	l.found = append(l.found, link{cid: c.Cid})
	return nil
}

// Everything else is passed over.
func (l *collector) BeginMap(int64) (datamodel.MapAssembler, error) {
	return mapEntries{entries{l}}, nil
}
func (l *collector) BeginList(int64) (datamodel.ListAssembler, error) {
	return listEntries{entries{l}}, nil
}
func (l *collector) AssignNull() error                  { return nil }
func (l *collector) AssignBool(bool) error              { return nil }
func (l *collector) AssignInt(int64) error              { return nil }
func (l *collector) AssignFloat(float64) error          { return nil }
func (l *collector) AssignString(string) error          { return nil }
func (l *collector) AssignBytes([]byte) error           { return nil }
func (l *collector) AssignNode(datamodel.Node) error    { return nil } // a large integer
func (l *collector) Prototype() datamodel.NodePrototype { return basicnode.Prototype.Any }

// entries are those of a map or a list.
type entries struct{ *collector }

func (e entries) AssembleKey() datamodel.NodeAssembler                  { return e.collector }
func (e entries) AssembleValue() datamodel.NodeAssembler                { return e.collector }
func (e entries) AssembleEntry(string) (datamodel.NodeAssembler, error) { return e.collector, nil }
func (e entries) Finish() error                                         { return nil }
func (e entries) KeyPrototype() datamodel.NodePrototype                 { return basicnode.Prototype.String }

type mapEntries struct{ entries }

func (mapEntries) ValuePrototype(string) datamodel.NodePrototype { return basicnode.Prototype.Any }

type listEntries struct{ entries }

func (listEntries) ValuePrototype(int64) datamodel.NodePrototype { return basicnode.Prototype.Any }
