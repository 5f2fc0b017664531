package answer

import (
	"net/http"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/gateway/coding"
	"github.com/shoal-cdn/shoal/gateway/unixfs"
)

// Reply is what one request gets of an answer.
type Reply struct {
	*Answer
	Status int
	Span   unixfs.Span // of the content that is sent
	Form   *coding.Form
	// Tag is the entity tag of what is sent, or of what the client has.
	Tag string
}

// Reply decides what a request gets: its conditions (RFC 9110, section 13.2.2), then its
// range (section 14.2).
func (a *Answer) Reply(method string, h http.Header) Reply {
	r := Reply{Answer: a, Status: a.Status, Span: unixfs.Span{To: a.Size}, Tag: a.ETag}
	if a.Status != http.StatusOK {
		return r
	}
	switch a.condition(h) {
	case http.StatusPreconditionFailed:
		r.Status, r.Span = http.StatusPreconditionFailed, unixfs.Span{}
		return r
	case http.StatusNotModified:
		r.Status, r.Span = http.StatusNotModified, unixfs.Span{}
		if a.Content != "" && !a.made && weakly(h["If-None-Match"], a.ETag) {
			// Caches find what a 304 is about by its tag (RFC 9111, section 4.3.4): who has
			// a form, and would get one, is told of it.
			if accept := coding.ReadAccepted(h); accept.Any() {
				r.Tag = a.FormTag("")
			}
		}
		return r
	}
	ranges := h["Range"]
	if len(ranges) != 1 || method != http.MethodGet || !a.Ranges || a.Size == 0 || !a.ifRange(h) {
		return r // of an empty file there are no parts to refuse
	}
	span, satisfiable, valid := parseRange(ranges[0], a.Size)
	switch {
	case !valid:
	case !satisfiable:
		r.Status, r.Span = http.StatusRequestedRangeNotSatisfiable, unixfs.Span{}
	default:
		r.Status, r.Span = http.StatusPartialContent, span
	}
	return r
}

// condition returns the status that the request's conditions lead to; 0 when all of them
// hold.
func (a *Answer) condition(h http.Header) int {
	if tags, ok := h["If-Match"]; ok {
		if !matches(tags, a.ETag, false) {
			return http.StatusPreconditionFailed
		}
	} else if since, ok := date(h["If-Unmodified-Since"]); ok && !a.Modified.IsZero() && a.Modified.Truncate(time.Second).After(since) {
		return http.StatusPreconditionFailed
	}
	if tags, ok := h["If-None-Match"]; ok {
		if a.hasTag(tags) {
			return http.StatusNotModified
		}
	} else if since, ok := date(h["If-Modified-Since"]); ok && !a.Modified.IsZero() && !a.Modified.Truncate(time.Second).After(since) {
		return http.StatusNotModified
	}
	return 0
}

// ifRange reports whether a part may be sent: If-Range (RFC 9110, section 13.1.5) names
// what is here, exactly.
func (a *Answer) ifRange(h http.Header) bool {
	conditions, ok := h["If-Range"]
	if !ok {
		return true
	}
	if len(conditions) != 1 {
		return false
	}
	if at, ok := date(conditions); ok {
		return !a.Modified.IsZero() && a.Modified.Truncate(time.Second).Equal(at)
	}
	return conditions[0] == a.ETag && !strings.HasPrefix(a.ETag, "W/")
}

// date reads a field with a date (RFC 9110, section 5.6.7); what is none is to be ignored.
func date(lines []string) (time.Time, bool) {
	if len(lines) != 1 {
		return time.Time{}, false
	}
	t, err := http.ParseTime(lines[0])
	return t, err == nil
}

// matches reports whether a list of entity tags has one, or is "*" (RFC 9110, sections
// 13.1.1 and 13.1.2). Weakly, W/"x" and "x" are the same (section 8.8.3.2).
func matches(lines []string, etag string, weak bool) bool {
	for _, line := range lines {
		for rest := strings.Trim(line, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
			if rest[0] == '*' {
				return true
			}
			tag, after := cutTag(rest)
			if tag == "" {
				return false // what follows cannot be told apart, nor can further lines (section 5.3)
			}
			rest = after
			if tag == etag && !strings.HasPrefix(tag, "W/") || weak && strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// cutTag cuts an entity tag (RFC 9110, section 8.8.3) off a list; it is empty when there is
// none. No tag has spaces or control characters.
func cutTag(s string) (tag, rest string) {
	begin := 0
	if strings.HasPrefix(s, "W/") {
		begin = 2
	}
	if len(s) < begin+2 || s[begin] != '"' {
		return "", s
	}
	for end := begin + 1; end < len(s) && s[end] > ' ' && s[end] != 0x7f; end++ {
		if s[end] == '"' {
			return s[:end+1], s[end+1:]
		}
	}
	return "", s
}

// weakly reports whether a list names the weak form of a tag.
func weakly(lines []string, etag string) bool {
	for _, line := range lines {
		if strings.Contains(line, "W/"+etag) {
			return true
		}
	}
	return false
}
