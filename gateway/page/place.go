package page

import (
	"strings"

	"github.com/ipfs/go-cid"
)

// Place says where a page is shown, and so where its links lead.
type Place struct {
	URL     string // the path of the request as the visitor wrote it, decoded ("/ipfs/CID/docs/" or "/docs/"): links are made below it
	Path    string // the content path, decoded: /ipfs/CID/docs/ or /ipns/NAME/docs/
	Gateway string // where links to other CIDs go: "//host[:port]" of the gateway on its subdomains; "" on path gateways, and where there is none
	Website bool   // the host is a website's own name (DNSLink or a site): CIDs can be had only if Gateway is set
	Host    string // of a website, with the port that the visitor wrote; "": the name in Path
}

const (
	// maxCrumbs is how many steps of a path have links, and maxCrumb how many bytes such
	// a link has: each repeats those before it.
	maxCrumbs, maxCrumb = 32, 2048
	// maxPrefix is up to how many bytes a folder's own path stands in each of its links.
	// They are relative below longer ones (RFC 3986, section 4.2).
	maxPrefix = 512
)

// explorer is where a website's visitors can look at an entry's CID when no gateway is
// known; the conformance suite demands it. What stands behind # is not sent to anybody.
const explorer = "https://cid.ipfs.tech/#"

// below returns what links to the entries of a folder begin with, percent-encoded, with
// the slash at the end.
func (p *Place) below() string {
	b := appendPath(nil, strings.TrimRight(p.URL, "/"))
	if len(b) > maxPrefix {
		return "./"
	}
	return string(append(b, '/'))
}

// appendPath encodes a path from the root. Two slashes in front would name a host (RFC
// 3986, section 4.2).
func appendPath(b []byte, path string) []byte {
	if strings.HasPrefix(path, "//") {
		b = append(b, "/."...)
	}
	for segment := range strings.SplitSeq(path, "/") {
		b = append(appendEncoded(b, segment, inSegment), '/')
	}
	return b[:len(b)-1]
}

// isSegment reports whether a name can be one segment of a path. Browsers take dot
// segments out of a path however they are encoded (WHATWG URL, "path state").
func isSegment(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.Contains(name, "/")
}

// segments are those of the content path.
func (p *Place) segments() []string {
	return strings.FieldsFunc(p.Path, func(r rune) bool { return r == '/' })
}

// isRoot reports whether the page is that of a content root: no way leads up from it.
func (p *Place) isRoot() bool { return len(p.segments()) <= 2 }

// appendCrumbs writes the content path; each step links to what it names.
func (p *Place) appendCrumbs(b []byte) []byte {
	segments := p.segments()
	if len(segments) < 2 {
		return appendText(b, p.Path)
	}
	b = append(appendText(append(b, '/'), segments[0]), '/')
	href := p.crumbRoot(segments[0], segments[1])
	for i, segment := range segments[1:] {
		switch {
		case i > 0:
			b = append(b, '/')
			href = appendEncoded(append(href, '/'), segment, inSegment)
		case p.Website: // its root is "/", which is nothing to go on behind
			b = appendLink(b, string(href)+"/", segment)
			continue
		}
		if i >= maxCrumbs || len(href) > maxCrumb || !isSegment(segment) {
			b = appendText(b, segment)
			continue
		}
		b = appendLink(b, string(href), segment)
	}
	return b
}

// crumbRoot is the link to a content root, without a slash at its end: on the gateway, or
// the website itself.
func (p *Place) crumbRoot(namespace, root string) []byte {
	if p.Website {
		host := p.Host
		if host == "" {
			host = root
		}
		return appendEncoded([]byte("//"), host, inHost)
	}
	return appendEncoded(append(appendEncoded(append(p.gateway(nil), '/'), namespace, inSegment), '/'), root, inSegment)
}

// gateway writes where paths of other content are served: nothing on a path gateway.
func (p *Place) gateway(b []byte) []byte {
	host, ok := strings.CutPrefix(p.Gateway, "//")
	if !ok {
		return b
	}
	return appendEncoded(append(b, "//"...), host, inHost)
}

// linksCIDs reports whether other CIDs can be had here.
func (p *Place) linksCIDs() bool { return !p.Website || p.Gateway != "" }

// appendCID writes a CID, with a link to it if it can be had here.
func (p *Place) appendCID(b []byte, c cid.Cid) []byte {
	text := c.String()
	if !p.linksCIDs() {
		return append(append(append(b, `<code translate="no">`...), text...), "</code>"...)
	}
	b = append(p.gateway(append(b, `<a class="ipfs-hash" translate="no" href="`...)), "/ipfs/"...)
	return append(append(append(append(b, text...), `">`...), text...), "</a>"...)
}

// appendLink writes a link to an address that is encoded already.
func appendLink(b []byte, href, text string) []byte {
	b = append(append(append(b, `<a href="`...), href...), `">`...)
	return append(appendText(b, text), "</a>"...)
}
