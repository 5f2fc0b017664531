package dag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec"
	"github.com/ipld/go-ipld-prime/codec/cbor"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	ipldjson "github.com/ipld/go-ipld-prime/codec/json"
	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/node/basicnode"

	"github.com/shoal-cdn/shoal/block"
)

const (
	plainCBOR = 0x51
	plainJSON = 0x0200
)

// path is names with dots between them; "" is none.
func path(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

func TestFind(t *testing.T) {
	a, b := leaf(1), leaf(2)
	// {"list": [1, "x", link a, {"k": link b}, tag 7 of [link a]], "s": "x", 5: link a, "n": null}
	cborNode := slices.Concat([]byte{0xa4, 0x64}, []byte("list"), []byte{0x85, 1, 0x61, 'x'}, cborLinkTo(a), []byte{0xa1, 0x61, 'k'}, cborLinkTo(b), []byte{0xc7, 0x81}, cborLinkTo(a),
		[]byte{0x61, 's', 0x61, 'x', 5}, cborLinkTo(a), []byte{0x61, 'n', 0xf6})
	jsonNode := fmt.Appendf(nil, ` {"list": [1, "x", {"/": "%s"}, {"k": {"/": "%s"}}, [{"/": "%s"}]], "s": "x", "": {"0": true}, "n": null, "b": {"/": {"bytes": "aGk"}},
		"more": {"/": "%[1]s", "x": {"/": "%[1]s"}}, "deep": {"/": {"bytes": "aGk", "x": 1}}, "\u00e9": 1} `, a, b, a)
	twice := slices.Concat([]byte{0xa2, 0x61, 'k'}, cborLinkTo(a), []byte{0x61, 'k'}, cborLinkTo(b))
	for name, tc := range map[string]struct {
		codec uint64
		data  []byte
		names string
		link  cid.Cid
		rest  string
		is    error
	}{
		"cbor, a link in a list":       {cid.DagCBOR, cborNode, "list.2", a, "", nil},
		"cbor, names behind it":        {cid.DagCBOR, cborNode, "list.2.x.y", a, "x.y", nil},
		"cbor, a link in a map":        {cid.DagCBOR, cborNode, "list.3.k.0", b, "0", nil},
		"cbor, below another tag":      {cid.DagCBOR, cborNode, "list.4.0", a, "", nil},
		"cbor, the root":               {cid.DagCBOR, cborNode, "", cid.Undef, "", ErrInside},
		"cbor, a list":                 {cid.DagCBOR, cborNode, "list", cid.Undef, "", ErrInside},
		"cbor, a text":                 {cid.DagCBOR, cborNode, "s", cid.Undef, "", ErrInside},
		"cbor, null":                   {cid.DagCBOR, cborNode, "n", cid.Undef, "", ErrInside},
		"cbor, below a text":           {cid.DagCBOR, cborNode, "s.0.x", cid.Undef, "0.x", ErrNoName},
		"cbor, below null":             {cid.DagCBOR, cborNode, "n.x", cid.Undef, "x", ErrNoName},
		"cbor, below a number":         {cid.DagCBOR, cborNode, "list.0.x", cid.Undef, "x", ErrNoName},
		"cbor, no such key":            {cid.DagCBOR, cborNode, "lis.2", cid.Undef, "lis.2", ErrNoName},
		"cbor, a key that is a number": {cid.DagCBOR, cborNode, "5", cid.Undef, "5", ErrNoName},
		"cbor, behind the end":         {cid.DagCBOR, cborNode, "list.5.x", cid.Undef, "5.x", ErrNoName},
		"cbor, a zero before":          {cid.DagCBOR, cborNode, "list.02", cid.Undef, "02", ErrNoName},
		"cbor, a sign":                 {cid.DagCBOR, cborNode, "list.+2", cid.Undef, "+2", ErrNoName},
		"cbor, below zero":             {cid.DagCBOR, cborNode, "list.-1", cid.Undef, "-1", ErrNoName},
		"cbor, no index":               {cid.DagCBOR, cborNode, "list.x", cid.Undef, "x", ErrNoName},
		"cbor, a huge index":           {cid.DagCBOR, cborNode, "list.18446744073709551616", cid.Undef, "18446744073709551616", ErrNoName},
		"cbor, the root is a link":     {cid.DagCBOR, cborLinkTo(a), "x.y", a, "x.y", nil},
		"cbor, the root and no names":  {cid.DagCBOR, cborLinkTo(a), "", a, "", nil},
		"cbor, a key twice":            {cid.DagCBOR, twice, "k", a, "", nil},
		"cbor, bytes":                  {cid.DagCBOR, cborLinkTo(a)[2:], "x", cid.Undef, "x", ErrNoName},
		"plain cbor has no links":      {plainCBOR, cborNode, "list.2", cid.Undef, "", ErrInside},
		"plain cbor, behind none":      {plainCBOR, cborNode, "list.2.x", cid.Undef, "x", ErrNoName},
		"json, a link in a list":       {cid.DagJSON, jsonNode, "list.2", a, "", nil},
		"json, names behind it":        {cid.DagJSON, jsonNode, "list.2.x.y", a, "x.y", nil},
		"json, a link in a map":        {cid.DagJSON, jsonNode, "list.3.k.0", b, "0", nil},
		"json, a list in a list":       {cid.DagJSON, jsonNode, "list.4.0", a, "", nil},
		"json, the root":               {cid.DagJSON, jsonNode, "", cid.Undef, "", ErrInside},
		"json, a list":                 {cid.DagJSON, jsonNode, "list", cid.Undef, "", ErrInside},
		"json, an empty key":           {cid.DagJSON, jsonNode, ".0", cid.Undef, "", ErrInside},
		"json, below a text":           {cid.DagJSON, jsonNode, "s.0.x", cid.Undef, "0.x", ErrNoName},
		"json, below null":             {cid.DagJSON, jsonNode, "n.x", cid.Undef, "x", ErrNoName},
		"json, no such key":            {cid.DagJSON, jsonNode, "x", cid.Undef, "x", ErrNoName},
		"json, a value's text":         {cid.DagJSON, []byte(`{"a":"k","c":{"k":1}}`), "k", cid.Undef, "k", ErrNoName},
		"json, a key below":            {cid.DagJSON, []byte(`{"a":{"k":1}}`), "k", cid.Undef, "k", ErrNoName},
		"json, behind the end":         {cid.DagJSON, jsonNode, "list.5", cid.Undef, "5", ErrNoName},
		"json, a zero before":          {cid.DagJSON, jsonNode, "list.02", cid.Undef, "02", ErrNoName},
		"json, an empty list":          {cid.DagJSON, []byte(`[]`), "0", cid.Undef, "0", ErrNoName},
		"json, an empty map":           {cid.DagJSON, []byte(`{}`), "0", cid.Undef, "0", ErrNoName},
		"json, an escaped key":         {cid.DagJSON, jsonNode, "é", cid.Undef, "", ErrInside},
		"json, bytes":                  {cid.DagJSON, jsonNode, "b", cid.Undef, "", ErrInside},
		"json, below bytes":            {cid.DagJSON, jsonNode, "b./.bytes", cid.Undef, "/.bytes", ErrNoName},
		"json, bytes and more":         {cid.DagJSON, jsonNode, "deep./.x", cid.Undef, "", ErrInside},
		"json, a link and more":        {cid.DagJSON, jsonNode, "more.x", a, "", nil},
		"json, / of a link and more":   {cid.DagJSON, jsonNode, "more./", cid.Undef, "", ErrInside},
		"json, the root is a link":     {cid.DagJSON, fmt.Appendf(nil, `{"/":"%s"}`, a), "x.y", a, "x.y", nil},
		"json, a key twice":            {cid.DagJSON, fmt.Appendf(nil, `{"k":{"/":"%s"},"k":{"/":"%s"}}`, a, b), "k", a, "", nil},
		"json, a number":               {cid.DagJSON, []byte("12"), "x", cid.Undef, "x", ErrNoName},
		"plain json has no links":      {plainJSON, jsonNode, "list.2./", cid.Undef, "", ErrInside},
		"plain json has no bytes":      {plainJSON, jsonNode, "b./.bytes", cid.Undef, "", ErrInside},
		"dag-pb":                       {cid.DagProtobuf, pbLinkTo(a, 1), "x", cid.Undef, "x", ErrCodec},
		"git":                          {cid.GitRaw, []byte("blob 0\x00"), "x", cid.Undef, "x", ErrCodec},
	} {
		t.Run(name, func(t *testing.T) {
			c := sum(tc.codec, tc.data)
			link, rest, err := Find(c, tc.data, path(tc.names))
			if link != tc.link || !slices.Equal(rest, path(tc.rest)) || !errors.Is(err, tc.is) {
				t.Errorf("got %v, %q, %v; want %v, %q, %v", link, rest, err, tc.link, tc.rest, tc.is)
			}
			if err != nil && (!strings.Contains(err.Error(), c.String()) || errors.Is(err, ErrMalformed)) {
				t.Error(err)
			}
		})
	}
}

// A fault is found wherever it is, and whatever the names are.
func TestFindInMalformedBlocks(t *testing.T) {
	a := leaf(1)
	good := cborLinkTo(a)
	for name, tc := range map[string]struct {
		codec uint64
		data  []byte
		say   string
	}{
		"cbor, nothing":          {cid.DagCBOR, nil, "ends too early"},
		"cbor, behind the place": {cid.DagCBOR, slices.Concat([]byte{0x82}, good, []byte{0x61}), "ends too early"},
		"cbor, before the place": {cid.DagCBOR, slices.Concat([]byte{0x82, 0x5f}, good), "kind 31"},
		"cbor, more":             {cid.DagCBOR, slices.Concat([]byte{0x81}, good, good), "follow its end"},
		"cbor, a claim":          {cid.DagCBOR, slices.Concat([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, good), "ends too early"},
		"cbor, another link":     {cid.DagCBOR, slices.Concat([]byte{0x82}, good, []byte{0xd8, 42, 0x41, 1}), "zero byte"},
		"plain cbor, cut off":    {plainCBOR, []byte{0x82, 1}, "ends too early"},
		"json, nothing":          {cid.DagJSON, nil, "ends too early"},
		"json, behind the place": {cid.DagJSON, fmt.Appendf(nil, `[{"/":"%s"},x]`, a), "invalid character"},
		"json, before the place": {cid.DagJSON, fmt.Appendf(nil, `[x,{"/":"%s"}]`, a), "invalid character"},
		"json, cut off":          {cid.DagJSON, fmt.Appendf(nil, `[{"/":"%s"}`, a), "ends too early"},
		"json, cut off in a key": {cid.DagJSON, []byte(`{"/`), "EOF"},
		"json, half a link":      {cid.DagJSON, []byte(`{"/":"x"`), "ends too early"},
		"json, half of bytes":    {cid.DagJSON, []byte(`{"/":{"bytes":`), "ends too early"},
		"json, more":             {cid.DagJSON, fmt.Appendf(nil, `[{"/":"%s"}]1`, a), "more follows"},
		"json, another link":     {cid.DagJSON, fmt.Appendf(nil, `[{"/":"%s"},{"/":"x"}]`, a), "a link"},
		"json, deep":             {cid.DagJSON, []byte(strings.Repeat("[", 1_000_000)), "more than 1024 deep"},
		"plain json, cut off":    {plainJSON, []byte(`{"0":`), "ends too early"},
	} {
		t.Run(name, func(t *testing.T) {
			c := sum(tc.codec, tc.data)
			for _, names := range [][]string{nil, {"0"}, {"1"}, {"0", "x"}, {"/"}, {"0", "0", "0"}} {
				link, rest, err := Find(c, tc.data, names)
				if link.Defined() || !slices.Equal(rest, names) || !errors.Is(err, ErrMalformed) || errors.Is(err, ErrNoName) || errors.Is(err, ErrInside) ||
					!strings.Contains(err.Error(), tc.say) || !strings.Contains(err.Error(), c.String()) {
					t.Errorf("%q: got %v, %q, %v", names, link, rest, err)
				}
			}
		})
	}
}

func TestFindShowsAPartOfALongName(t *testing.T) {
	long := strings.Repeat("n\n", 10_000)
	_, _, err := Find(sum(cid.DagJSON, nil), []byte("{}"), []string{long})
	if !errors.Is(err, ErrNoName) || len(err.Error()) > 500 || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// What a path costs follows from the bytes of the block, whatever the path is.
func TestFindInHostileBlocksTakesBoundedMemory(t *testing.T) {
	blocks := hostile()
	type hard struct {
		codec uint64
		data  []byte
	}
	blocks["dag-cbor, tags"] = hard{cid.DagCBOR, full(nil, "\xc7", "\x80")}
	blocks["dag-cbor, tagged keys"] = hard{cid.DagCBOR, append(append([]byte{0xa1}, bytes.Repeat([]byte{0xc7}, 1<<20)...), 0x61, 'x', 0x80)}
	for name, tc := range blocks {
		if tc.codec == cid.DagProtobuf {
			continue
		}
		for _, names := range [][]string{{"1999999"}, {"\x01\x02\x03"}, slices.Repeat([]string{"0"}, block.MaxSize)} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			link, _, err := Find(sum(tc.codec, nil), tc.data, names)
			runtime.ReadMemStats(&after)
			if link.Defined() == (err != nil) {
				t.Errorf("%s: %v, %v", name, link, err)
			}
			// Tokens of JSON and the CIDs of links are garbage as soon as the next one is read.
			limit, used := uint64(24<<20), after.TotalAlloc-before.TotalAlloc
			if tc.codec == cid.DagJSON {
				limit = 128 << 20
			}
			if used > limit {
				t.Errorf("%s: %d bytes allocated, want at most %d", name, used, limit)
			}
		}
	}
}

// referenceFind follows names as go-ipld-prime does, in nodes; ok is false when it does
// not decode the block, or has something that Find has on purpose not.
func referenceFind(c cid.Cid, data []byte, names []string) (link cid.Cid, rest []string, is error, ok bool) {
	decode := map[uint64]codec.Decoder{cid.DagCBOR: dagcbor.Decode, plainCBOR: cbor.Decode, cid.DagJSON: dagjson.Decode, plainJSON: ipldjson.Decode}[c.Type()]
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := decode(builder, bytes.NewReader(data)); err != nil {
		return cid.Undef, nil, nil, false
	}
	for node := builder.Build(); ; names = names[1:] {
		if node.Kind() == datamodel.Kind_Link {
			l, err := node.AsLink()
			return l.(cidlink.Link).Cid, names, err, true
		}
		if len(names) == 0 {
			return cid.Undef, nil, ErrInside, true
		}
		// The reference takes +1 and 01 for an index.
		if n, err := strconv.ParseInt(names[0], 10, 64); node.Kind() == datamodel.Kind_List && (err != nil || strconv.FormatInt(n, 10) != names[0]) {
			return cid.Undef, names, ErrNoName, true
		}
		next, err := node.LookupBySegment(datamodel.ParsePathSegment(names[0]))
		if err != nil {
			return cid.Undef, names, ErrNoName, true
		}
		node = next
	}
}

// Find leads to where the nodes of go-ipld-prime do, wherever those can be built.
func FuzzFind(f *testing.F) {
	a, b := leaf(1), leaf(2)
	f.Add(byte(0), cborList(a, identity(cid.Raw, nil)), "1\nx")
	f.Add(byte(0), slices.Concat([]byte{0xa2, 0x61, 'k'}, cborLinkTo(a), []byte{0x61, 'l', 0x81}, cborLinkTo(b)), "l\n0")
	f.Add(byte(0), slices.Concat([]byte{0xa1, 0xd8, 42, 0x61, 'k', 0xc7, 0x81, 0x80}), "k\n0")
	f.Add(byte(0), []byte{0xd8, 42, 0xd8, 42, 0x43, 0, 1, 2}, "")
	f.Add(byte(1), []byte{0xa2, 0x61, '1', 1, 0x61, '2', 0x82, 0xf6, 0xf5}, "2\n1")
	for kind := byte(2); kind < 4; kind++ {
		f.Add(kind, fmt.Appendf(nil, `{"x":[{"/":"%s"},{"y":{"/":"%s"}},{"/":{"bytes":"aGk"}},1.5,null,true,"s"]}`, a, b), "x\n1\ny\nz")
		f.Add(kind, fmt.Appendf(nil, `{"/":"%s","x":{"/":{"bytes":"aGk","/":{"/":"%s"}}}}`, a, b), "x\n/\n/")
		f.Add(kind, []byte(`{"/":{"bytes":"aGk"}}`), "/\nbytes")
		f.Add(kind, []byte(`[[],[[0]],{"":{"\u0041":"\ud800"}}]`), "2\n\nA")
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte, text string) {
		c := sum([]uint64{cid.DagCBOR, plainCBOR, cid.DagJSON, plainJSON}[kind%4], data)
		var names []string
		if text != "" {
			names = strings.Split(text, "\n")
		}
		link, rest, err := Find(c, data, names)
		wantLink, wantRest, is, ok := referenceFind(c, data, names)
		isJSON := kind%4 >= 2
		// The reference takes JSON that is none, and CIDs of any length.
		if !ok || isJSON && (!json.Valid(data) || !utf8.Valid(data)) || wantLink.ByteLen() > maxCID {
			return
		}
		if link != wantLink || !slices.Equal(rest, wantRest) || !errors.Is(err, is) {
			t.Errorf("got %v, %q, %v; want %v, %q, %v", link, rest, err, wantLink, wantRest, is)
		}
	})
}
