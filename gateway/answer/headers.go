package answer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/shoal-cdn/shoal/gateway/hot"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// A site's _headers file has patterns, each with fields below it that go out with what the
// pattern matches, in the syntax that Netlify and Cloudflare Pages share:
//
//	# a comment
//	/secure/*
//	  X-Frame-Options: DENY
//	  Link: </:splat.css>; rel=preload
//	  ! Access-Control-Allow-Origin
//
// A pattern matches the whole path that was asked for, decoded; :name stands for a segment,
// and one * for anything. Both may stand in values. Every pattern that matches adds its
// fields, in the order of the file: of one name they are put together with commas, and "!"
// takes away what was there until then, the edge's own field, too.

const (
	// maxHeadersFile bounds the file, in bytes, and maxCustom what one answer gets of it:
	// proxies have room for 4 to 8 KiB of header.
	maxHeadersFile = 64 << 10
	maxCustom      = 4 << 10
	// headerCost is what a line takes in memory, in bytes, besides its text.
	headerCost = 128
)

// spaceHeaders is where the store keeps header rules, by the root that they are for.
const spaceHeaders = "\x00headers"

// reservedFields are those that no site decides: they say where the message ends, what the
// connection does, what the content is, or would give the site another site's cookies.
var reservedFields = []string{
	"Accept-Ranges", "Age", "Cache-Status", "Connection", "Content-Encoding", "Content-Length", "Content-Location", "Content-Range", "Date", "Etag",
	"Ipfs-Uri", "Keep-Alive", "Last-Modified", "Location", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Server-Timing", "Set-Cookie", "Set-Cookie2",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Vary", "Www-Authenticate", "X-Ipfs-Path", "X-Ipfs-Roots",
}

// HeaderRules is a site's _headers file. It never changes.
type HeaderRules []headerRule

type headerRule struct {
	pattern []string // segments, without the first slash
	fields  []Field  // one without a value takes the name away
}

// HeaderProblem is a line of a _headers file that has no effect.
type HeaderProblem struct {
	Line int // from 1
	Text string
}

func (p HeaderProblem) Error() string { return fmt.Sprintf("_headers, line %d: %s", p.Line, p.Text) }

// ParseHeaders reads a _headers file. Lines that say nothing that may be done are left out,
// and named.
func ParseHeaders(data []byte) (rules HeaderRules, problems []HeaderProblem) {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimRight(string(line), " \t\r\n")
		trimmed := strings.TrimLeft(text, " \t")
		var problem string
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed == text:
			var pattern []string
			pattern, problem = parsePattern(text)
			rules = append(rules, headerRule{pattern: pattern}) // with a problem, it matches nothing
		case len(rules) == 0:
			problem = "a field without a path above it"
		default:
			var f Field
			if f, problem = parseHeader(trimmed); problem == "" {
				last := &rules[len(rules)-1]
				last.fields = append(last.fields, f)
			}
		}
		if problem != "" {
			problems = append(problems, HeaderProblem{n, problem})
		}
	}
	return slices.DeleteFunc(rules, func(r headerRule) bool { return r.pattern == nil || r.fields == nil }), problems
}

func parsePattern(text string) (segments []string, problem string) {
	switch {
	case text[0] != '/':
		return nil, fmt.Sprintf("the path %q does not begin with a slash", Abbreviate(text))
	case strings.Count(text, "*") > 1:
		return nil, fmt.Sprintf("the path %q has more than one *", Abbreviate(text))
	}
	return strings.Split(text[1:], "/"), ""
}

func parseHeader(text string) (f Field, problem string) {
	name, value, isField := strings.Cut(text, ":")
	away := text[0] == '!'
	if away {
		name, value = text[1:], ""
	}
	name, value = http.CanonicalHeaderKey(strings.Trim(name, " \t")), strings.Trim(value, " \t")
	switch {
	case !away && !isField:
		return f, fmt.Sprintf("%q is no field: write Name: value", Abbreviate(text))
	case !httpguts.ValidHeaderFieldName(name):
		return f, fmt.Sprintf("%q is no field name", Abbreviate(name))
	case slices.Contains(reservedFields, name):
		return f, fmt.Sprintf("%s is the edge's to say", name)
	case away:
		return Field{Name: name}, ""
	case value == "" || !isFieldValue(value):
		return f, fmt.Sprintf("the value of %s is empty, or has characters that no field may have", name)
	}
	return Field{name, []string{value}}, ""
}

// Match returns the fields for a path, sorted by name. One without a value is to be taken
// away.
func (rules HeaderRules) Match(urlPath string) (fields []Field) {
	size := 0
	for i := range rules {
		values, ok := rules[i].match(strings.TrimPrefix(urlPath, "/"))
		if !ok {
			continue
		}
		slices.SortStableFunc(values, func(x, y placeholder) int { return len(y.name) - len(x.name) })
		for _, f := range rules[i].fields {
			at := slices.IndexFunc(fields, func(g Field) bool { return g.Name == f.Name })
			switch {
			case f.Value == nil && at >= 0:
				fields[at].Value = nil
			case f.Value == nil:
				fields = append(fields, f)
			default:
				value := fillHeader(f.Value[0], values)
				if size += len(f.Name) + len(value); size > maxCustom || !isFieldValue(value) {
					continue
				}
				if at < 0 {
					fields = append(fields, Field{f.Name, []string{value}})
				} else if fields[at].Value == nil {
					fields[at].Value = []string{value}
				} else {
					fields[at].Value = []string{fields[at].Value[0] + ", " + value}
				}
			}
		}
	}
	return fields
}

// match reports whether the rule is for a path, and what stands for its placeholders.
func (r *headerRule) match(p string) (values []placeholder, ok bool) {
	for i, segment := range r.pattern {
		before, after, splat := strings.Cut(segment, "*")
		if splat {
			// What stands behind the star is matched from the end.
			tail := after
			if rest := strings.Join(r.pattern[i+1:], "/"); i+1 < len(r.pattern) {
				tail += "/" + rest
			}
			if len(p) < len(before)+len(tail) || !strings.HasPrefix(p, before) || !strings.HasSuffix(p, tail) {
				return nil, false
			}
			return append(values, placeholder{":splat", encode(p[len(before):len(p)-len(tail)], inPath)}), true
		}
		part, rest, more := strings.Cut(p, "/")
		switch {
		case len(segment) > 1 && segment[0] == ':':
			if part == "" {
				return nil, false
			}
			values = append(values, placeholder{segment, encode(part, inPath)})
		case segment != part:
			return nil, false
		}
		if more != (i+1 < len(r.pattern)) {
			return nil, false
		}
		p = rest
	}
	return values, true
}

// placeholder is what a part of a pattern stands for.
type placeholder struct{ name, value string }

// fillHeader puts what placeholders stand for into a value, as long as that is short. The
// longest names come first.
func fillHeader(value string, values []placeholder) string {
	size := len(value)
	var pairs []string
	for _, v := range values {
		size += strings.Count(value, v.name) * len(v.value)
		pairs = append(pairs, v.name, v.value)
	}
	if size > maxCustom {
		return value
	}
	return strings.NewReplacer(pairs...).Replace(value)
}

// headers returns the fields that a site wants for a request.
func (b *Builder) headers(ctx context.Context, reads *Reads, req *Request, at *place) ([]Field, error) {
	if !req.Isolated || req.Format != Web {
		return nil, nil
	}
	rules, err := b.headerRules(ctx, reads, at)
	return rules.Match(req.URL), err
}

// headerRules returns a site's header rules; none if it has no file of them.
func (b *Builder) headerRules(ctx context.Context, reads *Reads, at *place) (HeaderRules, error) {
	key := at.cid().KeyString()
	if e := b.hot.Find(spaceHeaders, key); e != nil {
		if kept, ok := e.Value.(HeaderRules); ok {
			e.Mark()
			return kept, nil
		}
	}
	generation := b.hot.Generation()
	found, err := b.names(ctx, reads, at, []string{"_headers"})
	if errors.Is(err, unixfs.ErrNoName) {
		b.hot.Put(&hot.Entry{Space: spaceHeaders, Key: key, Value: HeaderRules(nil)}, generation)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := b.readFile(ctx, reads, found.CID, "_headers", maxHeadersFile+1)
	if err != nil {
		return nil, err
	}
	if len(data) > maxHeadersFile {
		// Without its fields a site may be unsafe.
		return nil, Refuse(http.StatusInternalServerError, "could not use _headers: it has more than %d bytes", maxHeadersFile)
	}
	rules, _ := ParseHeaders(data)
	lines := int64(bytes.Count(data, []byte("\n")) + 1)
	b.hot.Put(&hot.Entry{Space: spaceHeaders, Key: key, Value: rules, Charge: int64(2*len(data)) + headerCost*lines}, generation)
	return rules, nil
}

// applyType has a site say what its content is, and how long it may be kept.
func (a *Answer) applyType() {
	for _, f := range a.custom {
		switch {
		case f.Value == nil:
		case f.Name == "Cache-Control":
			a.Control = f.Value[0]
		case f.Name == "Content-Type":
			a.Type = f.Value[0]
		}
	}
}

// apply gives the answer the fields that its site wants, in place of the edge's own.
func (a *Answer) apply() {
	for _, f := range a.custom {
		if f.Name == "Cache-Control" || f.Name == "Content-Type" {
			continue
		}
		a.Fields = slices.DeleteFunc(a.Fields, func(g Field) bool { return g.Name == f.Name })
		if f.Value != nil {
			a.Fields = append(a.Fields, f)
		}
	}
}

func (a *Answer) isCustom(name string) bool {
	return slices.ContainsFunc(a.custom, func(f Field) bool { return f.Name == name && name != "Content-Type" })
}
