package page

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"github.com/ipld/go-ipld-prime/datamodel"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
)

// How much of a value is shown.
const (
	maxText  = 4 << 10 // bytes of a string
	maxBytes = 256     // bytes of a byte string
	maxDepth = 64      // maps and lists in each other
)

// renderer writes values of the IPLD data model (https://ipld.io/docs/data-model/).
type renderer struct {
	place *Place
	b     []byte
}

func (r *renderer) raw(s string) { r.b = append(r.b, s...) }

// value writes one that stands by itself.
func (r *renderer) value(n datamodel.Node, depth int) {
	if kind := n.Kind(); kind == datamodel.Kind_Map || kind == datamodel.Kind_List {
		r.raw("<p>")
		r.size(n)
		r.raw("</p>")
		r.items(n, depth)
		return
	}
	r.raw("<p>")
	r.scalar(n)
	r.raw("</p>")
}

// items writes what is in a map or a list.
func (r *renderer) items(n datamodel.Node, depth int) {
	if n.Length() == 0 {
		return
	}
	if depth >= maxDepth {
		r.raw(`<p class="quiet">What is nested deeper is not shown.</p>`)
		return
	}
	r.raw("\n<ul>\n")
	switch n.Kind() {
	case datamodel.Kind_Map:
		for it := n.MapIterator(); !it.Done(); {
			key, value, err := it.Next()
			if err != nil {
				break // those in memory have none
			}
			name, _ := key.AsString()
			r.item(name, false, value, depth)
		}
	case datamodel.Kind_List:
		for it := n.ListIterator(); !it.Done(); {
			i, value, err := it.Next()
			if err != nil {
				break
			}
			r.item(strconv.FormatInt(i, 10), true, value, depth)
		}
	}
	r.raw("</ul>\n")
}

// item writes a value below its key or its index. What has items can be folded.
func (r *renderer) item(key string, index bool, n datamodel.Node, depth int) {
	kind := n.Kind()
	nested := (kind == datamodel.Kind_Map || kind == datamodel.Kind_List) && n.Length() > 0
	r.raw("<li>")
	if nested {
		r.raw("<details open><summary>")
	}
	if index {
		r.raw("<i>" + key + "</i> ")
	} else {
		r.raw("<b>")
		r.text(key, maxName)
		r.raw("</b> ")
	}
	switch {
	case nested:
		r.size(n)
		r.raw("</summary>")
		r.items(n, depth+1)
		r.raw("</details>")
	case kind == datamodel.Kind_Map || kind == datamodel.Kind_List:
		r.size(n)
	default:
		r.scalar(n)
	}
	r.raw("</li>\n")
}

// size says how many items a map or a list has.
func (r *renderer) size(n datamodel.Node) {
	r.raw("<i>" + n.Kind().String() + ", ")
	r.b = appendCount(r.b, int(n.Length()), "item", "items")
	r.raw("</i>")
}

// scalar writes a value that has no items. The accessors fail for other kinds only.
func (r *renderer) scalar(n datamodel.Node) {
	switch n.Kind() {
	case datamodel.Kind_Bool:
		is, _ := n.AsBool()
		r.raw("<code>" + strconv.FormatBool(is) + "</code>")
	case datamodel.Kind_Int:
		r.raw("<code>" + integer(n) + "</code>")
	case datamodel.Kind_Float:
		f, _ := n.AsFloat()
		r.raw("<code>" + float(f) + "</code>")
	case datamodel.Kind_String:
		s, _ := n.AsString()
		r.raw("<q>")
		r.text(s, maxText)
		r.raw("</q>")
	case datamodel.Kind_Bytes:
		data, _ := n.AsBytes()
		r.bytes(data)
	case datamodel.Kind_Link:
		link, _ := n.AsLink()
		if c, ok := link.(cidlink.Link); ok {
			r.b = r.place.appendCID(r.b, c.Cid)
		}
	default:
		r.raw("<code>null</code>")
	}
}

func integer(n datamodel.Node) string {
	if wide, ok := n.(datamodel.UintNode); ok { // more than an int64 holds, perhaps
		u, _ := wide.AsUint()
		return strconv.FormatUint(u, 10)
	}
	i, _ := n.AsInt()
	return strconv.FormatInt(i, 10)
}

// float writes a floating-point number so that it is none of the integers.
func float(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") && !math.IsInf(f, 0) && !math.IsNaN(f) {
		s += ".0"
	}
	return s
}

func (r *renderer) text(s string, most int) {
	shown, more := cut(s, most)
	r.b = appendText(r.b, shown)
	if more {
		r.raw("… <i>")
		r.b = appendSize(r.b, uint64(len(s)))
		r.raw(" in all</i>")
	}
}

// bytes writes a byte string in hexadecimal.
func (r *renderer) bytes(data []byte) {
	r.raw(`<code translate="no">`)
	r.b = hex.AppendEncode(r.b, data[:min(len(data), maxBytes)])
	if len(data) > maxBytes {
		r.raw("…")
	}
	r.raw("</code> <i>")
	r.b = appendCount(r.b, len(data), "byte", "bytes")
	r.raw("</i>")
}
