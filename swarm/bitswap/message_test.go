package bitswap

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/bitswap/client/wantlist"
	stock "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

func entries() []Entry {
	a, b := cid.NewCidV0(mustHash("a")), cid.NewCidV1(cid.Raw, mustHash("b"))
	return []Entry{
		{Cid: a, Priority: 7, Kind: WantBlock, SendDontHave: true},
		{Cid: b, Priority: -1, Kind: WantHave},
		{Cid: cid.NewCidV1(cid.DagCBOR, mustHash("c")), Cancel: true},
	}
}

func mustHash(s string) multihash.Multihash {
	mh, err := multihash.Sum([]byte(s), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

// The other implementation reads what we write.
func TestStockReadsOurMessages(t *testing.T) {
	block := randomBlock(t, 1000)
	have, not := cid.NewCidV1(cid.Raw, mustHash("have")), cid.NewCidV1(cid.Raw, mustHash("not"))
	msg := appendWantlist(nil, entries())
	msg = appendPresence(msg, Presence{Cid: have, Have: true})
	msg = appendPresence(msg, Presence{Cid: not})
	msg = appendPayloadHead(msg, block.Cid().Prefix(), len(block.RawData()))
	msg = append(msg, block.RawData()...)

	m, _, err := stock.FromNet(bytes.NewReader(append(binary.AppendUvarint(nil, uint64(len(msg))), msg...)))
	if err != nil {
		t.Fatal(err)
	}
	got := m.Wantlist()
	slices.SortFunc(got, func(a, b stock.Entry) int { return int(b.Priority - a.Priority) })
	want := []stock.Entry{
		{Entry: wantlist.Entry{Cid: entries()[0].Cid, Priority: 7, WantType: pb.Message_Wantlist_Block}, SendDontHave: true},
		{Entry: wantlist.Entry{Cid: entries()[2].Cid, WantType: pb.Message_Wantlist_Block}, Cancel: true},
		{Entry: wantlist.Entry{Cid: entries()[1].Cid, Priority: -1, WantType: pb.Message_Wantlist_Have}},
	}
	if !slices.Equal(got, want) {
		t.Errorf("wantlist: got %v, want %v", got, want)
	}
	if !slices.Equal(m.Haves(), []cid.Cid{have}) || !slices.Equal(m.DontHaves(), []cid.Cid{not}) {
		t.Errorf("presences: got %v and %v", m.Haves(), m.DontHaves())
	}
	if bs := m.Blocks(); len(bs) != 1 || bs[0].Cid() != block.Cid() || !bytes.Equal(bs[0].RawData(), block.RawData()) {
		t.Errorf("blocks: got %v", bs)
	}
}

// We read what the other implementation writes.
func TestWeReadStockMessages(t *testing.T) {
	block := randomBlock(t, 1000)
	m := stock.New(true)
	for _, e := range entries() {
		kind := pb.Message_Wantlist_Block
		if e.Kind == WantHave {
			kind = pb.Message_Wantlist_Have
		}
		if e.Cancel {
			m.Cancel(e.Cid)
		} else {
			m.AddEntry(e.Cid, e.Priority, kind, e.SendDontHave)
		}
	}
	have := cid.NewCidV1(cid.Raw, mustHash("have"))
	m.AddHave(have)
	m.AddBlock(block)
	m.SetPendingBytes(99)
	var buf bytes.Buffer
	if err := m.ToNetV1(&buf); err != nil {
		t.Fatal(err)
	}
	in := newReader(&buf)
	size, err := in.next()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := in.read(size)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	byKind := func(a, b Entry) int { return strings.Compare(a.Cid.KeyString(), b.Cid.KeyString()) }
	want := entries()
	slices.SortFunc(want, byKind)
	slices.SortFunc(got.Wants, byKind)
	if !got.Full || !slices.Equal(got.Wants, want) {
		t.Errorf("wantlist: got %v, want %v", got.Wants, want)
	}
	if !slices.Equal(got.Presences, []Presence{{Cid: have, Have: true}}) {
		t.Errorf("presences: got %v", got.Presences)
	}
	if len(got.Payload) != 1 || got.Payload[0].Prefix != block.Cid().Prefix() || !bytes.Equal(got.Payload[0].Data, block.RawData()) {
		t.Errorf("payload: got %v", got.Payload)
	}
}

func TestBadCIDsAreLeftOut(t *testing.T) {
	entry := func(raw []byte) []byte {
		body := protowire.AppendBytes(protowire.AppendTag(nil, fieldEntryCID, protowire.BytesType), raw)
		list := protowire.AppendBytes(protowire.AppendTag(nil, fieldEntries, protowire.BytesType), body)
		return protowire.AppendBytes(protowire.AppendTag(nil, fieldWantlist, protowire.BytesType), list)
	}
	huge, _ := multihash.Sum(make([]byte, 10_000), multihash.IDENTITY, -1)
	good := cid.NewCidV1(cid.Raw, mustHash("good"))
	for name, raw := range map[string][]byte{
		"empty": {}, "garbage": []byte("\xff\xfe\xfd"), "huge": cid.NewCidV1(cid.Raw, huge).Bytes(),
		"trailing bytes": append(good.Bytes(), 0),
	} {
		m, err := Parse(append(entry(raw), entry(good.Bytes())...))
		if err != nil || m.Ignored != 1 || len(m.Wants) != 1 || m.Wants[0].Cid != good {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	block := randomBlock(f, 100)
	msg := appendWantlist(nil, entries())
	msg = appendPresence(msg, Presence{Cid: entries()[0].Cid, Have: true})
	msg = appendPayloadHead(msg, block.Cid().Prefix(), 100)
	msg = append(msg, block.RawData()...)
	f.Add(msg)
	f.Add(appendV0BlockHead(nil, 0))
	f.Add([]byte{0x0a, 0x05, 0x0a, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		// What is read can be written, and reads as the same.
		out := appendWantlist(nil, m.Wants)
		for _, p := range m.Presences {
			out = appendPresence(out, p)
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Wants, again.Wants) || !slices.Equal(m.Presences, again.Presences) {
			t.Fatalf("%+v became %+v", m, again)
		}
		for _, w := range m.Wants {
			if !w.Cid.Defined() || w.Cid.ByteLen() > maxCIDSize {
				t.Fatalf("let a bad CID through: %v", w)
			}
		}
		// The other implementation takes what we write.
		framed := append(binary.AppendUvarint(nil, uint64(len(out))), out...)
		if _, _, err := stock.FromNet(bytes.NewReader(framed)); err != nil {
			t.Fatalf("not readable by others: %v", err)
		}
	})
}
