package page

import (
	"bytes"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/datamodel"
	"github.com/ipld/go-ipld-prime/node/basicnode"
	"github.com/multiformats/go-multicodec"

	"github.com/shoal-cdn/shoal/dag"
)

// Up to what a value is shown. So a page, and what it is made of, take about a megabyte
// each at most.
const (
	MaxShown  = 128 << 10 // bytes of a block
	MaxValues = 5000      // values in it, as [dag.Values] counts them
)

// Value is the page of a block of dag-cbor or dag-json. When it is too large to be shown,
// or the decoder does not take it (values nested too deeply, integers of more than 64
// bits, a key twice), the page says so, and what it is, and how to get its bytes.
type Value struct {
	Place
	CID   cid.Cid
	Codec string // "dag-cbor", "dag-json"
	Data  []byte // the block
}

// HTML makes the page. It returns an error for data that are no CBOR or JSON at all, and
// for other codecs.
func (v *Value) HTML() ([]byte, error) {
	value, hidden, err := v.decode()
	if err != nil {
		return nil, fmt.Errorf("show block %s: %w", v.CID, err)
	}
	b := make([]byte, 0, len(style)+4096+4*min(len(v.Data), MaxShown))
	b = appendHead(b, printed(v.Path))
	b = append(v.appendCrumbs(append(b, "<h1>"...)), "</h1>\n"...)
	b = append(v.appendFacts(b), "</header>\n"...)
	b = append(b, `<section class="value">`...)
	if value == nil {
		b = appendText(append(b, "<p>This value cannot be shown: "...), hidden)
		b = append(b, `. Its bytes can be had as a <a href="?format=raw" rel="nofollow">block</a>.</p>`...)
	} else {
		r := renderer{place: &v.Place, b: b}
		r.value(value, 0)
		b = r.b
	}
	b = append(b, "</section>\n"...)
	return append(b, foot...), nil
}

// decode returns the value, or why it is not to be seen.
func (v *Value) decode() (value datamodel.Node, hidden string, err error) {
	code := multicodec.Code(v.CID.Type())
	if code != multicodec.DagCbor && code != multicodec.DagJson || v.Codec != code.String() {
		return nil, "", fmt.Errorf("values of the codec %s (said to be %q) have no page", code, v.Codec)
	}
	if len(v.Data) > MaxShown {
		return nil, "it is too large", nil
	}
	if n, err := dag.Values(v.CID, v.Data); err != nil {
		return nil, "", fmt.Errorf("it is not %s: %w", v.Codec, err)
	} else if n > MaxValues {
		return nil, "it has too many values", nil
	}
	decode := dagcbor.Decode
	if code == multicodec.DagJson {
		decode = dagjson.Decode
	}
	builder := basicnode.Prototype.Any.NewBuilder()
	if err := decode(builder, bytes.NewReader(v.Data)); err != nil {
		return nil, printed(err.Error()), nil // it may quote the block
	}
	return builder.Build(), "", nil
}

func (v *Value) appendFacts(b []byte) []byte {
	b = append(v.appendCID(appendFact(append(b, "<dl>\n"...), "CID"), v.CID), endFact...)
	b = fmt.Appendf(appendFact(b, "Codec"), `<code translate="no">%s (0x%x)</code>%s`, v.Codec, v.CID.Type(), endFact)
	b = append(appendSize(appendFact(b, "Size"), uint64(len(v.Data))), endFact...)
	return fmt.Appendf(appendFact(b, "Download"), `<a href="?format=raw" rel="nofollow">block</a>, <a href="?format=%s" rel="nofollow" translate="no">%[1]s</a>%s</dl>
`, v.Codec, endFact)
}
