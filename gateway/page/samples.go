package page

import (
	"bytes"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// sampleValue has each kind of value, and what is cut.
const sampleValue = `{"bool":true,"bytes":{"/":{"bytes":"AAEC"}},"empty":{},"float":1.5,"int":-7,` +
	`"link":{"/":"bafkqaaa"},"list":[{"a":1},["b"]],"null":null,"string":"<ü\n>"}`

// samples are pages that show everything there is to show, of content that never changes.
func samples() [][]byte {
	inline := func(codec uint64, data string) cid.Cid {
		hash, err := multihash.Encode([]byte(data), multihash.IDENTITY)
		if err != nil {
			panic(err) // identity is known, and its digest of any length
		}
		return cid.NewCidV1(codec, hash)
	}
	root, file, value := inline(cid.DagProtobuf, "folder"), inline(cid.Raw, "file"), inline(cid.DagJSON, "value")
	path := "/ipfs/" + root.String() + "/a/b/"
	places := []Place{
		{URL: path, Path: path},
		{URL: "/a/b/", Path: path, Gateway: "//gateway.example"},
		{URL: "/", Path: "/ipns/site.example/", Website: true},
		{URL: "/a/", Path: "/ipns/site.example/a/", Website: true},
	}
	entries := []Entry{{"..", file, 12}, {"folder ü", root, 123456}, {"two\nlines <b>", file, 1 << 50}}
	var pages [][]byte
	for _, at := range places {
		all := Folder{Place: at, CID: root, Size: 5 << 20, Entries: entries, After: "a", Next: "z"}
		few := Folder{Place: at, CID: root, Entries: entries[:1]}
		none := Folder{Place: at, CID: root}
		pages = append(pages, all.HTML(), few.HTML(), none.HTML())
		for _, data := range [][]byte{[]byte(sampleValue), []byte("1"), longSample(), make([]byte, MaxShown+1)} {
			shown := Value{Place: at, CID: value, Codec: "dag-json", Data: data}
			html, err := shown.HTML()
			if err != nil {
				panic(err) // the samples are what they should be
			}
			pages = append(pages, html)
		}
	}
	return pages
}

// longSample is a value of which not everything is shown.
func longSample() []byte {
	text := bytes.Repeat([]byte("s"), maxText+1)
	open, end := bytes.Repeat([]byte("["), maxDepth+2), bytes.Repeat([]byte("]"), maxDepth+2)
	return bytes.Join([][]byte{[]byte(`["`), text, []byte(`",`), open, end, []byte("]")}, nil)
}
