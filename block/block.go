package block

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// MaxSize is the largest block, in bytes, that an edge accepts from anywhere:
// the limit of the Bitswap specification (2 MiB), so that whatever is stored can
// also be passed on to a sibling.
const MaxSize = 2 << 20

// MaxIdentitySize is the longest content, in bytes, that a CID may carry inside
// itself (multihash "identity"). Anything longer is a URL that costs memory and
// no fetch, which only an attacker has a use for.
const MaxIdentitySize = verifcid.DefaultMaxIdentityDigestSize

// Errors that [New] and [CheckCID] wrap. They say that the content is wrong, not
// that it is missing: asking the same place again will not help.
var (
	ErrTooLarge    = errors.New("block too large")
	ErrMismatch    = errors.New("bytes do not match the CID")
	ErrUnsupported = errors.New("CID not supported")
)

// Verified is a block whose bytes were hashed and found to match its CID. It
// implements the block interface of the IPFS libraries. The bytes are shared:
// nobody may change them.
type Verified struct {
	cid  cid.Cid
	data []byte
}

var _ blocks.Block = (*Verified)(nil)

// New hashes data and returns it as a block, or an error that wraps
// [ErrTooLarge], [ErrMismatch] or [ErrUnsupported] and names the CID. It keeps
// data; the caller must not change it afterwards.
func New(c cid.Cid, data []byte) (*Verified, error) {
	if err := CheckCID(c); err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("block %s: %w: %d bytes, the limit is %d", c, ErrTooLarge, len(data), MaxSize)
	}
	prefix := c.Prefix()
	if prefix.MhType == multihash.IDENTITY {
		// Sum would encode a new identity multihash of data's own length.
		prefix.MhLength = -1
	}
	sum, err := multihash.Sum(data, prefix.MhType, prefix.MhLength)
	if err != nil {
		return nil, fmt.Errorf("block %s: hash %d bytes: %w", c, len(data), err)
	}
	if !bytes.Equal(sum, c.Hash()) {
		return nil, fmt.Errorf("block %s: %w: %d bytes hash to %s", c, ErrMismatch, len(data), sum.B58String())
	}
	return &Verified{cid: c, data: data}, nil
}

// Sum hashes data and returns it as a block under the CID that prefix and the
// hash make. It is for those who are sent bytes with the shape of a CID and not
// the CID itself, as Bitswap does. The error wraps [ErrTooLarge] or
// [ErrUnsupported]. Sum keeps data; the caller must not change it afterwards.
func Sum(prefix cid.Prefix, data []byte) (*Verified, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("block: %w: %d bytes, the limit is %d", ErrTooLarge, len(data), MaxSize)
	}
	if !verifcid.DefaultAllowlist.IsAllowed(prefix.MhType) {
		return nil, fmt.Errorf("block: %w: hash function 0x%x", ErrUnsupported, prefix.MhType)
	}
	c, err := prefix.Sum(data)
	if err != nil {
		return nil, fmt.Errorf("block: %w: hash %d bytes: %w", ErrUnsupported, len(data), err)
	}
	if err := CheckCID(c); err != nil {
		return nil, err
	}
	return &Verified{cid: c, data: data}, nil
}

// Trusted wraps bytes that are known to match c by other means: they were
// verified when they entered this process or its block store, and a checksum has
// held them since. It is for the rooms that read back what they themselves
// verified. Anything that comes from outside goes through [New].
func Trusted(c cid.Cid, data []byte) *Verified {
	return &Verified{cid: c, data: data}
}

// CheckCID reports, with an error that wraps [ErrUnsupported] and names the CID,
// whether this edge refuses it: its hash function is not one that content is
// verified with (no insecure or unknown ones), its digest is too short, or it is
// an identity CID of more than [MaxIdentitySize] bytes.
func CheckCID(c cid.Cid) error {
	if !c.Defined() {
		return fmt.Errorf("%w: empty CID", ErrUnsupported)
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, abbreviate(c), err)
	}
	return nil
}

// abbreviate keeps an oversized identity CID out of logs and error pages.
func abbreviate(c cid.Cid) string {
	s := c.String()
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

// Cid returns the block's CID.
func (b *Verified) Cid() cid.Cid { return b.cid }

// RawData returns the block's bytes, which the caller must not change.
func (b *Verified) RawData() []byte { return b.data }

// String returns the form that the IPFS libraries log blocks in.
func (b *Verified) String() string { return fmt.Sprintf("[Block %s]", b.cid) }

// Loggable returns the block's CID for the libraries' structured logs.
func (b *Verified) Loggable() map[string]any {
	return map[string]any{"block": b.cid.String()}
}
