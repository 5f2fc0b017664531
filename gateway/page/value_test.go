package page

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

func htmlOf(t *testing.T, at Place, codec uint64, data []byte) []byte {
	t.Helper()
	names := map[uint64]string{cid.DagCBOR: "dag-cbor", cid.DagJSON: "dag-json"}
	page, err := (&Value{Place: at, CID: named(t, codec, string(data)), Codec: names[codec], Data: data}).HTML()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(page), "</html>\n") {
		t.Error("the page does not end as pages do") // it is all that conformance demands
	}
	return page
}

var pathGateway = Place{URL: "/ipfs/x", Path: "/ipfs/x"}

func TestValueShowsEachKind(t *testing.T) {
	link := named(t, cid.Raw, "other")
	values := map[string]string{"link": link.String()}
	data := []byte(fill(`{"bytes":{"/":{"bytes":"AAEC"}},"e":[],"f":1.5,"int":-7,"l":{"/":"{link}"},"list":[{"a":1.0},true],"m":{},"n":null,"s":"<ü\n&>"}`, values))
	want := []string{
		`<b>bytes</b> <code translate="no">000102</code> <i>3 bytes</i>`, `<b>e</b> <i>list, 0 items</i></li>`,
		`<b>f</b> <code>1.5</code>`, `<b>int</b> <code>-7</code>`, `<b>l</b> <a class="ipfs-hash" translate="no" href="/ipfs/{link}">{link}</a>`,
		`<summary><b>list</b> <i>list, 2 items</i></summary>`, `<i>0</i> <i>map, 1 item</i>`, `<b>a</b> <code>1.0</code>`, `<i>1</i> <code>true</code>`,
		`<b>m</b> <i>map, 0 items</i></li>`, `<b>n</b> <code>null</code>`, `<b>s</b> <q>&lt;ü\n&amp;&gt;</q>`, `<p><i>map, 9 items</i></p>`,
		`href="?format=raw"`, `href="?format=dag-json"`, `dag-json (0x129)`, named(t, cid.DagJSON, string(data)).String(), `/ipfs/<a href="/ipfs/x">x</a>`,
	}
	shows(t, htmlOf(t, pathGateway, cid.DagJSON, data), values, want, []string{"<script", "?format=dag-cbor"})
}

func TestValueOfCBOR(t *testing.T) {
	link := named(t, cid.Raw, "other")
	// {"a": [1, h'..' (300 bytes)], "l": 42(link)}
	data := append([]byte{0xa2, 0x61, 'a', 0x82, 0x01, 0x59, 300 >> 8, 300 & 255}, bytes.Repeat([]byte{0xee}, 300)...)
	data = append(data, 0x61, 'l', 0xd8, 42, 0x58, byte(1+link.ByteLen()), 0)
	data = append(data, link.Bytes()...)
	values := map[string]string{"link": link.String(), "hex": hex.EncodeToString(bytes.Repeat([]byte{0xee}, maxBytes))}
	shows(t, htmlOf(t, Place{URL: "/", Path: "/ipfs/x/", Gateway: "//gateway.example:80"}, cid.DagCBOR, data), values, []string{
		`>{hex}…</code> <i>300 bytes</i>`, `href="//gateway.example:80/ipfs/{link}">{link}</a>`, `href="?format=dag-cbor"`, "dag-cbor (0x71)",
	}, []string{"?format=dag-json"})
	website := Place{URL: "/", Path: "/ipns/site.example/", Website: true}
	shows(t, htmlOf(t, website, cid.DagCBOR, data), values, []string{`<b>l</b> <code translate="no">{link}</code>`}, []string{"/ipfs/{link}", explorer})
}

func TestValueBySelf(t *testing.T) {
	shows(t, htmlOf(t, pathGateway, cid.DagCBOR, append([]byte{0x1b}, bytes.Repeat([]byte{0xff}, 8)...)), nil, []string{"<p><code>18446744073709551615</code></p>"}, nil)
	for text, want := range map[string]string{
		`"x"`: "<p><q>x</q></p>", `12`: "<p><code>12</code></p>", `-1.25e30`: "<code>-1.25e+30</code>", `false`: "<code>false</code>", `[]`: "<p><i>list, 0 items</i></p>",
	} {
		shows(t, htmlOf(t, pathGateway, cid.DagJSON, []byte(text)), nil, []string{want}, nil)
	}
}

// What is too large has a page nevertheless, and pages stay within a megabyte or so
// whatever is in them.
func TestValueIsBounded(t *testing.T) {
	list := func(item string, n int) []byte {
		return []byte("[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]")
	}
	nested := func(n int) []byte {
		return []byte(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	link := fmt.Sprintf(`{"/":%q}`, named(t, cid.Raw, "other"))
	for name, c := range map[string]struct {
		data   []byte
		codec  uint64
		hidden bool
	}{
		"a wide integer":  {[]byte("18446744073709551615"), cid.DagJSON, true},
		"a key twice":     {[]byte{0xa2, 0x61, 'a', 1, 0x61, 'a', 2}, cid.DagCBOR, true},
		"a link to none":  {[]byte(`{"/":"no <CID>"}`), cid.DagJSON, true},
		"too many bytes":  {[]byte(`"` + strings.Repeat("x", MaxShown) + `"`), cid.DagJSON, true},
		"too many values": {list("1", MaxValues), cid.DagJSON, true},
		"too deep":        {bytes.Repeat([]byte{0x81}, 2000), cid.DagCBOR, true},
		"many values":     {list("1", MaxValues-2), cid.DagJSON, false},
		"many lists":      {list("[1]", MaxValues/3-1), cid.DagJSON, false},
		"deep":            {nested(1000), cid.DagJSON, false},
		"many links":      {list(link, MaxValues/4-1), cid.DagJSON, false},
		"one long text":   {[]byte(`"` + strings.Repeat("&", MaxShown-2) + `"`), cid.DagJSON, false},
		"many texts":      {list(`"`+strings.Repeat("&", 4000)+`"`, 32), cid.DagJSON, false},
		"controls":        {list(`"`+strings.Repeat("\u202e", 1300)+`"`, 33), cid.DagJSON, false},
	} {
		if name == "too deep" {
			c.data[len(c.data)-1] = 0x80
		}
		page := htmlOf(t, pathGateway, c.codec, c.data)
		if hidden := strings.Contains(string(page), "cannot be shown"); hidden != c.hidden || len(page) > 1<<20 {
			t.Errorf("%s: hidden %v, a page of %d bytes", name, hidden, len(page))
		}
	}
}

func TestValueOfWrongData(t *testing.T) {
	for _, v := range []Value{
		{CID: named(t, cid.DagCBOR, ""), Codec: "dag-cbor"},
		{CID: named(t, cid.DagCBOR, ""), Codec: "dag-cbor", Data: []byte{0x82, 1}},
		{CID: named(t, cid.DagJSON, ""), Codec: "dag-json", Data: []byte("{}x")},
		{CID: named(t, cid.DagJSON, ""), Codec: "dag-cbor", Data: []byte("{}")},
		{CID: named(t, cid.Raw, ""), Codec: "raw", Data: []byte("{}")},
		{Codec: "dag-json", Data: []byte("{}")},
	} {
		if page, err := v.HTML(); err == nil {
			t.Errorf("%q of %s has a page of %d bytes", v.Data, v.Codec, len(page))
		}
	}
}

// FuzzValue looks for blocks whose pages are not well-formed, or too large.
func FuzzValue(f *testing.F) {
	f.Add([]byte(sampleValue), true)
	f.Add([]byte{0xa1, 0x61, '<', 0x82, 0x41, 0, 0xfb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0}, false)
	f.Add([]byte(`"</q><script>"`), true)
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		v := Value{Place: pathGateway, CID: named(t, cid.DagCBOR, ""), Codec: "dag-cbor", Data: data}
		if asJSON {
			v.CID, v.Codec = named(t, cid.DagJSON, ""), "dag-json"
		}
		page, err := v.HTML()
		if err != nil {
			return
		}
		if len(page) > 8<<10+200*MaxValues+6*len(data) {
			t.Errorf("%d bytes became %d", len(data), len(page))
		}
		allowed := map[string]bool{"html": true, "head": true, "meta": true, "title": true, "link": true, "style": true, "body": true, "main": true, "header": true, "h1": true, "dl": true, "div": true, "dt": true, "dd": true,
			"section": true, "p": true, "a": true, "ul": true, "li": true, "details": true, "summary": true, "b": true, "i": true, "q": true, "code": true}
		for _, e := range elements(t, page) {
			if !allowed[e.name] {
				t.Errorf("<%s> came from %q", e.name, data)
			}
		}
	})
}
