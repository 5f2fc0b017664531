package page

import (
	"strconv"

	"github.com/ipfs/go-cid"
)

// Entry is what a folder has under a name.
type Entry struct {
	Name string
	CID  cid.Cid
	Size uint64 // of the DAG, bytes
}

// Folder is a page of a folder's list.
type Folder struct {
	Place
	CID     cid.Cid
	Size    uint64  // of the DAG, bytes
	Entries []Entry // at most a thousand or so: those of this page, sorted by name
	After   string  // the entry that the page begins behind; "" on the first
	Next    string  // the name to continue behind; "" on the last page
}

const (
	// maxName is how many bytes of a name are shown.
	maxName = 1024
	// maxFilename is up to how many bytes a name is suggested for a file. Other systems
	// have no longer ones.
	maxFilename = 255
	// rowSize is what a row takes, in bytes, beside its name and the folder's path; it
	// has two CIDs.
	rowSize = 320
)

// HTML makes the page. It takes about 8 KiB, and for each entry 320 bytes, the folder's
// own path (512 bytes at most) and a few times the entry's name, each byte of which takes
// up to 14. Entries are in the order in which they are given.
func (f *Folder) HTML() []byte {
	below := f.below()
	size := len(style) + len(script) + 4096
	for i := range f.Entries {
		size += rowSize + len(below) + len(f.Gateway) + 4*len(f.Entries[i].Name)
	}
	b := make([]byte, 0, size)
	b = appendHead(b, "Index of "+printed(f.Path))
	b = append(b, `<h1><span class="quiet">Index of</span> `...)
	b = append(f.appendCrumbs(b), "</h1>\n"...)
	b = append(f.appendFacts(b), "</header>\n"...)
	b = f.appendTable(b, below)
	b = f.appendPages(b, below)
	b = append(append(append(b, "<script>"...), script...), "</script>\n"...)
	return append(b, foot...)
}

// printed is a path as it is shown at most where it has no links.
func printed(path string) string {
	path, more := cut(path, maxName)
	if more {
		path += "…"
	}
	return path
}

func (f *Folder) appendFacts(b []byte) []byte {
	b = append(b, "<dl>\n"...)
	if f.CID.Defined() {
		b = append(f.appendCID(appendFact(b, "CID"), f.CID), endFact...)
	}
	b = append(appendSize(appendFact(b, "Size"), f.Size), endFact...)
	entries := "Entries"
	if f.After != "" || f.Next != "" {
		entries = "On this page"
	}
	b = append(appendCount(appendFact(b, entries), len(f.Entries), "entry", "entries"), endFact...)
	if f.After != "" {
		b = append(appendText(appendFact(b, "After"), printed(f.After)), endFact...)
	}
	return append(b, "</dl>\n"...)
}

func (f *Folder) appendTable(b []byte, below string) []byte {
	if len(f.Entries) == 0 && f.isRoot() {
		return append(b, "<section><p class=\"quiet\">Nothing is in this folder.</p></section>\n"...)
	}
	b = append(b, `<section><table>
<thead><tr><th scope="col" aria-sort="ascending">Name</th><th scope="col">Size</th><th scope="col">CID</th></tr></thead>
`...)
	if !f.isRoot() {
		b = append(appendLink(append(b, "<tbody><tr><td>"...), below+"..", ".."), "</td><td></td><td></td></tr></tbody>\n"...)
	}
	b = append(b, "<tbody id=\"rows\">\n"...)
	for i := range f.Entries {
		b = f.appendRow(b, below, &f.Entries[i])
	}
	b = append(b, "</tbody>\n</table>"...)
	if len(f.Entries) == 0 {
		b = append(b, `<p class="quiet">Nothing is in this folder.</p>`...)
	}
	return append(b, "</section>\n"...)
}

func (f *Folder) appendRow(b []byte, below string, e *Entry) []byte {
	b = append(b, "<tr><td>"...)
	linked := isSegment(e.Name)
	if linked {
		b = append(append(b, `<a href="`...), below...)
		b = append(appendEncoded(b, e.Name, inSegment), `">`...)
	}
	name, more := cut(e.Name, maxName)
	if b = appendText(b, name); more {
		b = append(b, "…"...)
	}
	if linked {
		b = append(b, "</a>"...)
	}
	b = strconv.AppendUint(append(b, `</td><td><data value="`...), e.Size, 10)
	b = appendSize(append(b, `">`...), e.Size)
	b = f.appendEntryCID(append(b, "</data></td><td>"...), e)
	return append(b, "</td></tr>\n"...)
}

// appendEntryCID links to what an entry is, by its CID alone.
func (f *Folder) appendEntryCID(b []byte, e *Entry) []byte {
	if !e.CID.Defined() {
		return b
	}
	text := e.CID.String()
	b = append(b, `<a class="ipfs-hash" translate="no" href="`...)
	if f.linksCIDs() {
		b = append(append(f.gateway(b), "/ipfs/"...), text...)
		if e.Name != "" && len(e.Name) <= maxFilename {
			b = appendTwiceEncoded(append(b, "?filename="...), e.Name)
		}
		b = append(b, `">`...)
	} else {
		b = append(append(append(b, explorer...), text...), `" target="_blank" rel="noreferrer noopener">`...)
	}
	return append(append(b, text...), "</a>"...)
}

// appendPages links to other pages of the same folder.
func (f *Folder) appendPages(b []byte, below string) []byte {
	if f.After == "" && f.Next == "" {
		return b
	}
	b = append(b, `<nav aria-label="Pages">`...)
	if f.After != "" {
		b = append(append(append(b, `<a href="`...), below...), `">First page</a> `...)
	}
	if f.Next != "" {
		b = appendEncoded(append(b, `<a rel="next" href="?after=`...), f.Next, unreserved)
		b = append(b, `">Next page</a>`...)
	}
	return append(b, "</nav>\n"...)
}
