package bitswap

import (
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

// MaxMessageSize is the largest message, in bytes, that is sent or accepted: what
// the Bitswap specification allows and the other implementations accept.
const MaxMessageSize = 4 << 20

// maxCIDSize is the longest CID, in bytes, that a message may name. The largest
// digest in use has 64 bytes; what is longer only costs memory.
const maxCIDSize = 128

// ErrMalformed is what every error of [Parse] wraps.
var ErrMalformed = errors.New("malformed Bitswap message")

// Kind says what an entry of a wantlist asks for.
type Kind uint8

// The kinds of wants, with their numbers on the wire.
const (
	WantBlock Kind = 0 // the block itself
	WantHave  Kind = 1 // whether the peer has it
)

func (k Kind) String() string {
	if k == WantHave {
		return "want-have"
	}
	return "want-block"
}

// Entry is one want, or the cancellation of one.
type Entry struct {
	Cid          cid.Cid
	Priority     int32
	Cancel       bool
	Kind         Kind
	SendDontHave bool
}

// Presence says whether the sender has a block.
type Presence struct {
	Cid  cid.Cid
	Have bool
}

// Payload is a block as it travels: its bytes and the CID without the digest.
// Whoever receives it learns the CID by hashing.
type Payload struct {
	Prefix cid.Prefix
	Data   []byte
}

// Message is one Bitswap message, version 1.2.0.
type Message struct {
	// Full says that Wants replaces what was wanted before.
	Full      bool
	Wants     []Entry
	Payload   []Payload
	Presences []Presence
	// Ignored counts entries and presences that were left out because their CID
	// is malformed or too long, or asks for something this version does not know.
	Ignored int
}

// The fields of the messages in the specification's message.proto.
const (
	fieldWantlist  = 1
	fieldBlocks    = 2 // 1.0.0
	fieldPayload   = 3
	fieldPresences = 4

	fieldEntries = 1
	fieldFull    = 2

	fieldEntryCID      = 1
	fieldEntryPriority = 2
	fieldEntryCancel   = 3
	fieldEntryWantType = 4
	fieldEntryDontHave = 5

	fieldPayloadPrefix = 1
	fieldPayloadData   = 2

	fieldPresenceCID  = 1
	fieldPresenceType = 2
)

// v0Prefix is the shape of every block in a message of version 1.0.0.
var v0Prefix = cid.Prefix{Version: 0, Codec: cid.DagProtobuf, MhType: multihash.SHA2_256, MhLength: 32}

// Parse reads one message. The payload's bytes are parts of buf: the caller hands
// buf over. A message that is not valid protobuf is an error that wraps
// [ErrMalformed]; an entry with a bad CID is only counted, since it harms nobody
// else in the message.
func Parse(buf []byte) (*Message, error) {
	m := &Message{}
	err := fields(buf, func(num protowire.Number, v value) error {
		switch num {
		case fieldWantlist:
			return m.parseWantlist(v.bytes)
		case fieldBlocks:
			m.Payload = append(m.Payload, Payload{Prefix: v0Prefix, Data: v.bytes})
		case fieldPayload:
			return m.parsePayload(v.bytes)
		case fieldPresences:
			return m.parsePresence(v.bytes)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return m, nil
}

func (m *Message) parseWantlist(b []byte) error {
	return fields(b, func(num protowire.Number, v value) error {
		switch num {
		case fieldEntries:
			return m.parseEntry(v.bytes)
		case fieldFull:
			m.Full = v.number != 0
		}
		return nil
	})
}

func (m *Message) parseEntry(b []byte) error {
	e := Entry{}
	var raw []byte
	err := fields(b, func(num protowire.Number, v value) error {
		switch num {
		case fieldEntryCID:
			raw = v.bytes
		case fieldEntryPriority:
			e.Priority = int32(v.number)
		case fieldEntryCancel:
			e.Cancel = v.number != 0
		case fieldEntryWantType:
			e.Kind = Kind(min(v.number, 255))
		case fieldEntryDontHave:
			e.SendDontHave = v.number != 0
		}
		return nil
	})
	if err != nil {
		return err
	}
	var ok bool
	if e.Cid, ok = castCID(raw); !ok || e.Kind > WantHave {
		m.Ignored++
		return nil
	}
	m.Wants = append(m.Wants, e)
	return nil
}

func (m *Message) parsePayload(b []byte) error {
	var p Payload
	var raw []byte
	err := fields(b, func(num protowire.Number, v value) error {
		switch num {
		case fieldPayloadPrefix:
			raw = v.bytes
		case fieldPayloadData:
			p.Data = v.bytes
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p.Prefix, err = cid.PrefixFromBytes(raw); err != nil {
		m.Ignored++
		return nil
	}
	m.Payload = append(m.Payload, p)
	return nil
}

func (m *Message) parsePresence(b []byte) error {
	var raw []byte
	var kind uint64
	err := fields(b, func(num protowire.Number, v value) error {
		switch num {
		case fieldPresenceCID:
			raw = v.bytes
		case fieldPresenceType:
			kind = v.number
		}
		return nil
	})
	if err != nil {
		return err
	}
	c, ok := castCID(raw)
	if !ok || kind > 1 {
		m.Ignored++
		return nil
	}
	m.Presences = append(m.Presences, Presence{Cid: c, Have: kind == 0})
	return nil
}

func castCID(raw []byte) (cid.Cid, bool) {
	if len(raw) == 0 || len(raw) > maxCIDSize {
		return cid.Undef, false
	}
	c, err := cid.Cast(raw)
	return c, err == nil
}

// value is the content of one protobuf field: bytes or number, by its wire type.
type value struct {
	bytes  []byte
	number uint64
}

// fields calls f for each field of the protobuf message b.
func fields(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var v value
		switch typ {
		case protowire.BytesType:
			v.bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			v.number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(num, v); err != nil {
			return err
		}
	}
	return nil
}

// appendEntry appends a wantlist entry as field 1 of a wantlist.
func appendEntry(b []byte, e Entry) []byte {
	var scratch [maxCIDSize + 32]byte
	body := protowire.AppendTag(scratch[:0], fieldEntryCID, protowire.BytesType)
	body = protowire.AppendBytes(body, e.Cid.Bytes())
	if e.Priority != 0 {
		body = protowire.AppendTag(body, fieldEntryPriority, protowire.VarintType)
		body = protowire.AppendVarint(body, uint64(int64(e.Priority)))
	}
	body = appendFlag(body, fieldEntryCancel, e.Cancel)
	body = appendFlag(body, fieldEntryWantType, e.Kind == WantHave)
	body = appendFlag(body, fieldEntryDontHave, e.SendDontHave)
	b = protowire.AppendTag(b, fieldEntries, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

func appendFlag(b []byte, num protowire.Number, set bool) []byte {
	if !set {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), 1)
}

// appendWantlist appends a whole message that holds nothing but wants. It is the
// same in all versions of the protocol.
func appendWantlist(b []byte, entries []Entry) []byte {
	var list []byte
	for _, e := range entries {
		list = appendEntry(list, e)
	}
	b = protowire.AppendTag(b, fieldWantlist, protowire.BytesType)
	return protowire.AppendBytes(b, list)
}

// appendPresence appends a presence as a field of the message.
func appendPresence(b []byte, p Presence) []byte {
	var scratch [maxCIDSize + 16]byte
	body := protowire.AppendTag(scratch[:0], fieldPresenceCID, protowire.BytesType)
	body = protowire.AppendBytes(body, p.Cid.Bytes())
	body = appendFlag(body, fieldPresenceType, !p.Have)
	b = protowire.AppendTag(b, fieldPresences, protowire.BytesType)
	return protowire.AppendBytes(b, body)
}

// appendPayloadHead appends a payload field of the message up to the block's n
// bytes, which must follow.
func appendPayloadHead(b []byte, prefix cid.Prefix, n int) []byte {
	raw := prefix.Bytes()
	b = protowire.AppendTag(b, fieldPayload, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(raw))+1+protowire.SizeBytes(n)))
	b = protowire.AppendTag(b, fieldPayloadPrefix, protowire.BytesType)
	b = protowire.AppendBytes(b, raw)
	b = protowire.AppendTag(b, fieldPayloadData, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}

// appendV0BlockHead does the same for version 1.0.0, where blocks have no prefix.
func appendV0BlockHead(b []byte, n int) []byte {
	b = protowire.AppendTag(b, fieldBlocks, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(n))
}
