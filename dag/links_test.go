package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/ipld/go-ipld-prime/traversal"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

func sum(codec uint64, data []byte) cid.Cid {
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(codec, hash)
}

func identity(codec uint64, data []byte) cid.Cid {
	hash, err := multihash.Sum(data, multihash.IDENTITY, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(codec, hash)
}

// leaf returns a CID that nobody else has.
func leaf(i int) cid.Cid { return sum(cid.Raw, fmt.Append(nil, i)) }

// cborLinkTo is a link in dag-cbor.
func cborLinkTo(c cid.Cid) []byte {
	b := append([]byte{0}, c.Bytes()...)
	return append(append([]byte{0xd8, 42}, cborArg(cborBytes, len(b))...), b...)
}

// cborArg is the head of an item of up to 2^32.
func cborArg(major byte, n int) []byte {
	if n < 24 {
		return []byte{major<<5 | byte(n)}
	}
	return []byte{major<<5 | 26, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// cborList is an array of links.
func cborList(to ...cid.Cid) []byte {
	b := cborArg(cborArray, len(to))
	for _, c := range to {
		b = append(b, cborLinkTo(c)...)
	}
	return b
}

// pbLinkTo is a link in dag-pb, without a name.
func pbLinkTo(c cid.Cid, tsize int) []byte {
	b := append([]byte{1<<3 | 2, byte(len(c.Bytes()))}, c.Bytes()...)
	if tsize > 0 {
		b = append(b, 3<<3, byte(tsize))
	}
	return append([]byte{2<<3 | 2, byte(len(b))}, b...)
}

// reference returns the links that the libraries find by building the node.
func reference(codec uint64, data []byte) ([]cid.Cid, error) {
	if codec == cid.DagProtobuf {
		nd, err := merkledag.DecodeProtobuf(data)
		if err != nil {
			return nil, err
		}
		var found []cid.Cid
		for _, l := range nd.Links() {
			found = append(found, l.Cid)
		}
		return found, nil
	}
	decode := dagcbor.Decode
	if codec == cid.DagJSON {
		decode = dagjson.Decode
	}
	nd := basicnode.Prototype.Any.NewBuilder()
	if err := decode(nd, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	links, err := traversal.SelectLinks(nd.Build())
	if err != nil {
		return nil, err
	}
	var found []cid.Cid
	for _, l := range links {
		found = append(found, l.(cidlink.Link).Cid)
	}
	return found, nil
}

func TestLinks(t *testing.T) {
	a, b := leaf(1), leaf(2)
	small := identity(cid.Raw, []byte("x"))
	for name, tc := range map[string]struct {
		codec uint64
		data  []byte
		want  []Link
	}{
		"raw":                      {cid.Raw, cborList(a), nil},
		"cbor has no links":        {0x51, cborList(a), nil},
		"an empty dag-pb":          {cid.DagProtobuf, nil, nil},
		"dag-pb":                   {cid.DagProtobuf, append(pbLinkTo(a, 7), pbLinkTo(b, 0)...), []Link{{a, 7}, {b, 0}}},
		"dag-pb, the data first":   {cid.DagProtobuf, append([]byte{0x0a, 2, 8, 1}, pbLinkTo(a, 7)...), []Link{{a, 7}}},
		"dag-pb, the same again":   {cid.DagProtobuf, append(pbLinkTo(a, 7), pbLinkTo(a, 7)...), []Link{{a, 7}, {a, 7}}},
		"dag-pb, identity":         {cid.DagProtobuf, pbLinkTo(small, 1), []Link{{small, 1}}},
		"a huge Tsize":             {cid.DagProtobuf, append([]byte{0x12, byte(len(a.Bytes()) + 2 + 11), 0x0a, byte(len(a.Bytes()))}, append(a.Bytes(), 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1)...), []Link{{a, 1<<63 - 1}}},
		"dag-cbor":                 {cid.DagCBOR, cborList(a, b, small), []Link{{a, 0}, {b, 0}, {small, 0}}},
		"dag-cbor, in a map":       {cid.DagCBOR, append([]byte{0xa2, 0x61, 'k', 0xf6, 0x61, 'l', 0x81}, cborLinkTo(a)...), []Link{{a, 0}}},
		"dag-cbor, all kinds":      {cid.DagCBOR, append([]byte{0x88, 0x18, 24, 0x39, 1, 0, 0x42, 1, 2, 0x61, 'x', 0xf5, 0xfb, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}, cborLinkTo(a)...), []Link{{a, 0}}},
		"dag-cbor, CID as bytes":   {cid.DagCBOR, cborLinkTo(a)[2:], nil},
		"dag-json":                 {cid.DagJSON, fmt.Appendf(nil, ` [{"/":"%s"},{"x":{"/" : "%s"}}] `, a, b), []Link{{a, 0}, {b, 0}}},
		"dag-json, bytes":          {cid.DagJSON, []byte(`{"/":{"bytes":"aGk"}}`), nil},
		"dag-json, one key more":   {cid.DagJSON, fmt.Appendf(nil, `{"/":"%s","x":1}`, a), nil},
		"dag-json, a link in /":    {cid.DagJSON, fmt.Appendf(nil, `{"/":{"/":"%s"}}`, a), []Link{{a, 0}}},
		"dag-json, a value":        {cid.DagJSON, []byte(`"/"`), nil},
		"dag-json, CIDv0":          {cid.DagJSON, []byte(`{"/":"QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"}`), []Link{{cid.MustParse("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"), 0}}},
		"dag-json, / as a value":   {cid.DagJSON, fmt.Appendf(nil, `{"a":"/","%s":"x"}`, a), nil},
		"dag-json, / in an array":  {cid.DagJSON, fmt.Appendf(nil, `["/","%s"]`, a), nil},
		"dag-json, key twice":      {cid.DagJSON, fmt.Appendf(nil, `{"a":1,"a":{"/":"%s"}}`, a), []Link{{a, 0}}},
		"dag-cbor, key twice":      {cid.DagCBOR, append([]byte{0xa2, 0x61, 'k', 1, 0x61, 'k'}, cborLinkTo(a)...), []Link{{a, 0}}},
		"dag-cbor, very deep":      {cid.DagCBOR, append(bytes.Repeat([]byte{0x81}, 1_000_000), cborLinkTo(a)...), []Link{{a, 0}}},
		"dag-cbor, longer numbers": {cid.DagCBOR, append([]byte{0x98, 1}, cborLinkTo(a)...), []Link{{a, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Links(sum(tc.codec, tc.data), tc.data, 3)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestLinksThatCannotBeRead(t *testing.T) {
	a := leaf(1)
	long := identity(cid.Raw, make([]byte, 300))
	for name, tc := range map[string]struct {
		codec uint64
		data  []byte
		is    error
		say   string
	}{
		"a codec that is not known":      {cid.GitRaw, []byte("blob 1\x00x"), ErrCodec, "git-raw"},
		"too many":                       {cid.DagCBOR, cborList(a, a, a, a), ErrLimit, "more than 3 links"},
		"too many, dag-pb":               {cid.DagProtobuf, bytes.Repeat(pbLinkTo(a, 1), 4), ErrLimit, "more than 3 links"},
		"dag-pb cut off":                 {cid.DagProtobuf, pbLinkTo(a, 1)[:20], ErrMalformed, "dag-pb"},
		"dag-pb, a link without a CID":   {cid.DagProtobuf, []byte{0x12, 2, 0x18, 1}, ErrMalformed, "no CID"},
		"dag-pb, a link with two":        {cid.DagProtobuf, []byte{0x12, 12, 0x0a, 4, 1, 0x55, 0, 0, 0x0a, 4, 1, 0x55, 0, 0}, ErrMalformed, "more than one"},
		"dag-pb, another field":          {cid.DagProtobuf, []byte{0x1a, 0}, ErrMalformed, "field 3"},
		"dag-pb, a claim":                {cid.DagProtobuf, []byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x7f}, ErrMalformed, "EOF"},
		"dag-cbor, nothing":              {cid.DagCBOR, nil, ErrMalformed, "ends too early"},
		"dag-cbor, an array's claim":     {cid.DagCBOR, []byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ErrMalformed, "ends too early"},
		"dag-cbor, a map's claim":        {cid.DagCBOR, []byte{0xbb, 0x80, 0, 0, 0, 0, 0, 0, 0, 0xf6, 0xf6}, ErrMalformed, "ends too early"},
		"dag-cbor, a string's claim":     {cid.DagCBOR, []byte{0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, ErrMalformed, "ends too early"},
		"dag-cbor, deep and cut off":     {cid.DagCBOR, bytes.Repeat([]byte{0x81}, 1_000_000), ErrMalformed, "ends too early"},
		"dag-cbor, indefinite":           {cid.DagCBOR, []byte{0x9f, 0xff}, ErrMalformed, "kind 31"},
		"dag-cbor, more behind it":       {cid.DagCBOR, []byte{0xf6, 0xf6}, ErrMalformed, "1 bytes follow"},
		"dag-cbor, no zero byte":         {cid.DagCBOR, []byte{0xd8, 42, 0x43, 1, 1, 2}, ErrMalformed, "zero byte"},
		"dag-cbor, no CID":               {cid.DagCBOR, []byte{0xd8, 42, 0x43, 0, 1, 2}, ErrMalformed, "a link"},
		"dag-cbor, a CID of 300 bytes":   {cid.DagCBOR, cborLinkTo(long), ErrMalformed, "a CID of 305 bytes"},
		"dag-json, no CID":               {cid.DagJSON, []byte(`[{"/":"x"}]`), ErrMalformed, "a link"},
		"dag-json, a CID in base58":      {cid.DagJSON, []byte(`{"/":"z` + strings.Repeat("2", 1_000_000) + `"}`), ErrMalformed, "a link of 1000001 characters"},
		"dag-json, cut off":              {cid.DagJSON, []byte(strings.Repeat("[", 100)), ErrMalformed, "ends too early"},
		"dag-json, deep":                 {cid.DagJSON, []byte(strings.Repeat("[", 1_000_000)), ErrMalformed, "more than 1024 deep"},
		"dag-json, more behind it":       {cid.DagJSON, []byte(`[]]`), ErrMalformed, "more follows"},
		"dag-json, another value behind": {cid.DagJSON, []byte(`1 2`), ErrMalformed, "more follows"},
		"dag-json, nothing":              {cid.DagJSON, []byte(" "), ErrMalformed, "ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sum(tc.codec, tc.data)
			got, err := Links(c, tc.data, 3)
			if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.say) || !strings.Contains(err.Error(), c.String()) || len(got) > 3 {
				t.Errorf("got %v, %v; want %q", got, err, tc.say)
			}
		})
	}
}

// A node is read where it lies, and where it is malformed, up to there.
func TestReadPB(t *testing.T) {
	a, b := leaf(1), leaf(2)
	data := []byte{0x0a, 2, 8, 1}
	both := append(pbLinkTo(a, 7), pbLinkTo(b, 9)...)
	for name, tc := range map[string]struct {
		raw  []byte
		left int
		say  string
	}{
		"the data behind":       {slices.Concat(both, data), 2, ""},
		"the data before":       {slices.Concat(data, both), 2, ""},
		"data twice":            {slices.Concat(data, both, data), 2, "field 1 is there twice"},
		"no data twice":         {slices.Concat(both, []byte{0x0a, 0, 0x0a, 0}), 2, "field 1 is there twice"},
		"links around data":     {slices.Concat(pbLinkTo(a, 7), data, pbLinkTo(b, 9)), 1, "field 2 is there twice"},
		"cut off":               {slices.Concat(data, both)[:len(data)+len(both)-1], 1, "EOF"},
		"a link, another field": {slices.Concat(data, pbLinkTo(a, 7), []byte{0x12, 2, 4 << 3, 1}), 2, "a field that links do not have"},
	} {
		t.Run(name, func(t *testing.T) {
			links, got, err := ReadPB(tc.raw)
			if links.Left != tc.left || err == nil && !bytes.Equal(got, data[2:]) {
				t.Errorf("%d links, data %v", links.Left, got)
			}
			all := links
			for range tc.left {
				var l PBLink
				if l, _, err = all.Next(); err != nil {
					break
				}
				if c, err := l.CID(); err != nil || l.Size == 7 && c != a || l.Size == 9 && c != b {
					t.Errorf("%v, %v", c, err)
				}
			}
			if _, _, fault := ReadPB(tc.raw); err == nil {
				err = fault
			}
			if (err == nil) != (tc.say == "") || err != nil && !strings.Contains(err.Error(), tc.say) {
				t.Errorf("got %v, want %q", err, tc.say)
			}
			if links.Left != tc.left {
				t.Error("reading a copy moves the original")
			}
		})
	}
}

func TestValues(t *testing.T) {
	for _, tc := range []struct {
		codec uint64
		data  string
		want  int
		ok    bool
	}{
		{cid.DagCBOR, "\x80", 1, true},
		{0x51, "\xa1\x61a\x82\x01\xf6", 5, true},
		{cid.DagCBOR, string(cborList(leaf(1))), 3, true}, // the list, a tag and its bytes
		{cid.DagCBOR, "\xd8\x2a\x43\x01\x01\x02", 2, true},
		{cid.DagCBOR, "\x83\x01\x02", 0, false},
		{cid.DagCBOR, "\x83\x61a\x02\x5f", 3, false},
		{cid.DagJSON, `[1,{"a":"b"}]`, 7, true},
		{0x0200, `[1,2`, 3, false},
		{cid.DagProtobuf, "", 0, false},
	} {
		if n, err := Values(sum(tc.codec, nil), []byte(tc.data)); n != tc.want || (err == nil) != tc.ok {
			t.Errorf("%#x %q: %d, %v; want %d", tc.codec, tc.data, n, err, tc.want)
		}
	}
}

func TestInlineAndCanonical(t *testing.T) {
	if data, ok := Inline(identity(cid.DagCBOR, []byte("abc"))); !ok || string(data) != "abc" {
		t.Errorf("%q, %v", data, ok)
	}
	if _, ok := Inline(leaf(1)); ok {
		t.Error("a hash is no content")
	}
	v0 := cid.MustParse("QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR")
	if c := Canonical(v0); c != cid.NewCidV1(cid.DagProtobuf, v0.Hash()) || Canonical(c) != c {
		t.Error(c)
	}
	if !IsLeaf(leaf(1)) || IsLeaf(v0) || IsLeaf(sum(cid.GitRaw, nil)) {
		t.Error("only codecs without links are leaves")
	}
}

// Scanning finds what building the node finds, wherever that can be built.
func FuzzLinks(f *testing.F) {
	a, b := leaf(1), leaf(2)
	f.Add(byte(0), append(pbLinkTo(a, 7), 0x0a, 2, 8, 1))
	f.Add(byte(0), append([]byte{0x0a, 2, 8, 1}, pbLinkTo(b, 1)...))
	f.Add(byte(1), cborList(a, identity(cid.Raw, nil)))
	f.Add(byte(1), []byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 2})
	f.Add(byte(1), []byte{0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(byte(1), []byte{0xd8, 42, 0x01})
	f.Add(byte(1), []byte{0xd8, 42, 0xd8, 42, 0x43, 0, 1, 2})
	f.Add(byte(2), fmt.Appendf(nil, `{"x":[{"/":"%s"},{"y":{"/":"%s"}},{"/":{"bytes":"aGk"}},1.5,null,true,"s"]}`, a, b))
	f.Add(byte(2), []byte(`[{"/":"x"}]`))
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		codec := []uint64{cid.DagProtobuf, cid.DagCBOR, cid.DagJSON}[kind%3]
		links, err := Links(sum(codec, data), data, MaxLinks)
		var got []cid.Cid
		for _, l := range links {
			got = append(got, l.CID)
		}
		want, wantErr := reference(codec, data)
		// The reference takes JSON that is none, and CIDs of any length.
		if wantErr != nil || codec == cid.DagJSON && !json.Valid(data) || slices.ContainsFunc(want, func(c cid.Cid) bool { return c.ByteLen() > maxCID }) {
			return
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("links %v, %v; want %v", got, err, want)
		}
		if n, err := Values(sum(codec, data), data); codec != cid.DagProtobuf && (err != nil || n < len(want)) {
			t.Errorf("%d values, %v", n, err)
		}
	})
}

// full repeats part as often as it fits into a block, between a head and a tail.
func full(head []byte, part string, tail string) []byte {
	n := (block.MaxSize - len(head) - len(tail)) / len(part)
	return append(append(head, bytes.Repeat([]byte(part), n)...), tail...)
}

// hostile are blocks of the largest size whose nodes would be many times as large.
func hostile() map[string]struct {
	codec uint64
	data  []byte
} {
	tiny := identity(cid.Raw, nil)
	slow, err := identity(cid.Raw, make([]byte, maxCID-5)).StringOfBase(multibase.Base58BTC)
	if err != nil {
		panic(err)
	}
	keys := cborArg(cborMap, 400_000)
	for i := range 400_000 {
		keys = append(append(keys, 0x63, byte(i), byte(i>>8), byte(i>>16)), 0xf6)
	}
	head := func(major byte, part int) []byte { return cborArg(major, (block.MaxSize-5)/part) }
	return map[string]struct {
		codec uint64
		data  []byte
	}{
		"dag-cbor, two million empty arrays": {cid.DagCBOR, full(head(cborArray, 1), "\x80", "")},
		"dag-cbor, a million empty maps":     {cid.DagCBOR, full(head(cborArray, 1), "\xa0", "")},
		"dag-cbor, keys":                     {cid.DagCBOR, keys},
		"dag-cbor, deep":                     {cid.DagCBOR, full(nil, "\x81", "\x80")},
		"dag-cbor, links":                    {cid.DagCBOR, full(head(cborArray, len(cborLinkTo(tiny))), string(cborLinkTo(tiny)), "")},
		"dag-pb, links":                      {cid.DagProtobuf, full(nil, string(pbLinkTo(tiny, 1)), "")},
		"dag-json, empty arrays":             {cid.DagJSON, full([]byte("[[]"), ",[]", "]")},
		"dag-json, strings":                  {cid.DagJSON, full([]byte(`[""`), `,""`, "]")},
		"dag-json, links":                    {cid.DagJSON, full([]byte(`[{"/":"bafkqaaa"}`), `,{"/":"bafkqaaa"}`, "]")},
		"dag-json, one string":               {cid.DagJSON, full([]byte(`"`), "x", `"`)},
		"dag-json, slow CIDs":                {cid.DagJSON, full([]byte(`[1`), `,{"/":"`+slow+`"}`, "]")},
	}
}

// What a block costs follows from its bytes: a few times as many in memory at one time,
// whatever is in it.
func TestHostileBlocksTakeBoundedMemory(t *testing.T) {
	for name, tc := range hostile() {
		t.Run(name, func(t *testing.T) {
			if len(tc.data) > block.MaxSize {
				t.Fatalf("a block of %d bytes", len(tc.data))
			}
			c := sum(tc.codec, tc.data)
			var most, seen uint64
			var before, now runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			err := Scan(c, tc.data, MaxLinks, func(Link) error {
				if seen++; seen%(1<<14) == 0 {
					runtime.GC()
					runtime.ReadMemStats(&now)
					most = max(most, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
				}
				return nil
			})
			runtime.ReadMemStats(&now)
			if err != nil && !errors.Is(err, ErrLimit) && !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
			if strings.HasSuffix(name, "links") != errors.Is(err, ErrLimit) {
				t.Errorf("got %v", err)
			}
			allocated := now.TotalAlloc - before.TotalAlloc
			t.Logf("allocated %d, at one time %d", allocated, most)
			if most > 16<<20 {
				t.Errorf("%d bytes at one time", most)
			}
			// dag-cbor and dag-pb need no memory but for the links; tokens of JSON are garbage
			// as soon as the next one is read.
			if limit := uint64(24 << 20); tc.codec != cid.DagJSON && allocated > limit {
				t.Errorf("%d bytes allocated, want at most %d", allocated, limit)
			}
			if limit := uint64(128 << 20); allocated > limit {
				t.Errorf("%d bytes allocated, want at most %d", allocated, limit)
			}
		})
	}
}

func BenchmarkHostile(b *testing.B) {
	for name, tc := range hostile() {
		b.Run(name, func(b *testing.B) {
			c := sum(tc.codec, tc.data)
			b.SetBytes(int64(len(tc.data)))
			for b.Loop() {
				_ = Scan(c, tc.data, 1<<30, func(Link) error { return nil })
			}
		})
	}
}
