package dag

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// Errors that [Scan] and [Walk.Run] wrap. They complete the sentence that they stand
// in: "block bafy... is not valid dag-cbor", "it has more than 9 blocks, the limit".
// All of them are for good: the same block has the same bytes tomorrow.
var (
	ErrMalformed = errors.New("not valid")
	ErrCodec     = errors.New("whose links cannot be followed; expected dag-pb, dag-cbor, dag-json or raw")
	ErrLimit     = errors.New("the limit")
)

// MaxLinks is the most links that a block of [block.MaxSize] has in earnest: with a
// digest of 32 bytes a link takes at least 40 in any codec. More fit only with CIDs
// that are made up for it.
const MaxLinks = 1 << 16

// maxCID is the longest CID in a block, in bytes. [block.CheckCID] refuses all that
// are nearly as long. Without it, one block could hold a CID of 2 MiB, and to read
// that as base58 would take hours.
const maxCID = 256

// Link is a CID that a block points to.
type Link struct {
	CID cid.Cid
	// Size is what the block claims about all that is below the link, in bytes
	// (Tsize of dag-pb); 0 when it says nothing.
	Size int64
}

// Scan calls link for each link of a block, in the order in which they stand there,
// and no more than most times. An error of link ends it and is returned. Otherwise
// the error wraps [ErrMalformed], [ErrCodec] or [ErrLimit] and names the block; the
// links before that place have been reported.
func Scan(c cid.Cid, data []byte, most int, link func(Link) error) error {
	var stop error
	count := 0
	each := func(l Link) error {
		if count++; count > most {
			stop = fmt.Errorf("block %s has more than %d links, %w", c, most, ErrLimit)
		} else {
			stop = link(l)
		}
		return stop
	}
	var err error
	switch mark := codecMark(c); mark {
	case markLeaf:
	case markDagPB:
		err = scanPB(data, each)
	case markDagCBOR:
		_, err = scanCBOR(data, each)
	case markDagJSON:
		_, err = scanJSON(data, each)
	default:
		return codecError(c)
	}
	if stop != nil {
		return stop
	}
	if err != nil {
		return malformedError(c, err)
	}
	return nil
}

func codecError(c cid.Cid) error {
	return fmt.Errorf("block %s has the codec %s, %w", c, multicodec.Code(c.Type()), ErrCodec)
}

func malformedError(c cid.Cid, err error) error {
	return fmt.Errorf("block %s is %w %s: %w", c, ErrMalformed, multicodec.Code(c.Type()), err)
}

// Links returns the links of a block, which are at most most. The error is as for
// [Scan].
func Links(c cid.Cid, data []byte, most int) ([]Link, error) {
	var found []Link
	err := Scan(c, data, most, func(l Link) error {
		found = append(found, l)
		return nil
	})
	return found, err
}

// Values returns how many values a block of cbor, dag-cbor, json or dag-json has, which
// is what decoding it costs: heads of CBOR (RFC 8949, section 3) or tokens of JSON. With
// an error, it is those before the fault.
func Values(c cid.Cid, data []byte) (int, error) {
	switch multicodec.Code(c.Type()) {
	case multicodec.Cbor, multicodec.DagCbor:
		return scanCBOR(data, nil)
	case multicodec.Json, multicodec.DagJson:
		return scanJSON(data, nil)
	}
	return 0, fmt.Errorf("values of the codec %s cannot be counted", multicodec.Code(c.Type()))
}

// IsLeaf reports whether the codec of c cannot express links.
func IsLeaf(c cid.Cid) bool { return codecMark(c) == markLeaf }

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

// Inline returns the content of a CID that carries it in itself (multihash
// "identity"). The caller must not change it.
func Inline(c cid.Cid) ([]byte, bool) {
	if c.Prefix().MhType != multihash.IDENTITY {
		return nil, false
	}
	mh, err := multihash.Decode(c.Hash())
	if err != nil {
		return nil, false
	}
	return mh.Digest, true
}

// Canonical returns the CIDv1 of a block: CIDs that differ in their version only
// name the same block with the same links.
func Canonical(c cid.Cid) cid.Cid {
	if c.Version() == 1 {
		return c
	}
	return cid.NewCidV1(c.Type(), c.Hash())
}

// castCID reads a CID in binary form that ends where the bytes do.
func castCID(b []byte) (cid.Cid, error) {
	if len(b) > maxCID {
		return cid.Undef, fmt.Errorf("a CID of %d bytes", len(b))
	}
	return cid.Cast(b)
}
