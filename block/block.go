package block

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"

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

// Checksum protects a block's bytes at rest: a CRC-32C (Castagnoli, RFC 3720, section
// 12.1), kept beside them since they were verified.
type Checksum uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is returned by [Restore] for bytes that changed at rest.
var ErrDamaged = errors.New("bytes do not match their checksum")

// Checksum returns what [Restore] needs to know the block's bytes again.
func (b *Verified) Checksum() Checksum { return Checksum(crc32.Checksum(b.data, castagnoli)) }

// Restore returns a block that was verified when it was stored, and whose bytes are still
// those of its checksum; it hashes nothing. The error is [ErrDamaged]. It is for the
// block store alone, which keeps the checksum in its own records (a test holds that);
// anything else comes in by [New]. Restore keeps data; the caller must not change it
// afterwards.
func Restore(c cid.Cid, data []byte, sum Checksum) (*Verified, error) {
	if Checksum(crc32.Checksum(data, castagnoli)) != sum {
		return nil, ErrDamaged
	}
	return &Verified{cid: c, data: data}, nil
}

// As returns the block under another CID of the same bytes: stores know blocks by their
// multihash, the codec is a matter of who asks. The error wraps [ErrMismatch] when the
// multihash is another one.
func (b *Verified) As(c cid.Cid) (*Verified, error) {
	switch {
	case c == b.cid:
		return b, nil
	case Key(c) != Key(b.cid):
		return nil, fmt.Errorf("block %s: %w: it is block %s", abbreviate(c), ErrMismatch, abbreviate(b.cid))
	}
	return &Verified{cid: c, data: b.data}, nil
}

// Key returns the multihash of a CID in binary, which is what the same bytes have in
// common under all their CIDs. It is a part of the CID's own memory, where [cid.Cid.Hash]
// would copy it.
func Key(c cid.Cid) string {
	s := c.KeyString()
	if c.Defined() && c.Version() == 0 {
		return s
	}
	for range 2 { // the varints of version and codec
		for len(s) > 0 && s[0] >= 0x80 {
			s = s[1:]
		}
		if len(s) > 0 {
			s = s[1:]
		}
	}
	return s
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
