package answer

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	replyTag  = `"bafkreigh2akiscaildc"`
	replyDate = "Mon, 06 May 2024 07:08:09 GMT"
)

// replyFields are those that Reply reads, besides If-None-Match's coding.
var replyFields = []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"}

var (
	// onePart is a ranges-specifier with one range-spec (RFC 9110, sections 14.1.1, 14.1.2),
	// in a list that may have empty elements (section 5.6.1.2).
	onePart = regexp.MustCompile(`^(?i:bytes)=[ \t,]*([0-9]*)-([0-9]*)[ \t,]*$`)
	// oneTag is an entity-tag (section 8.8.3).
	oneTag = regexp.MustCompile(`^(W/)?"[^\x00-\x20"\x7f]*"$`)
	// replyDifferences are where net/http is not what RFC 9110 asks for, each with its
	// section. A request is changed into the one that net/http answers as the RFC has it.
	replyDifferences = []struct {
		section string
		change  func(r *http.Request, size int)
	}{
		{"5.3: the lines of a list are one list", func(r *http.Request, _ int) {
			for _, name := range []string{"If-Match", "If-None-Match"} {
				if lines := r.Header[name]; len(lines) > 1 {
					r.Header.Set(name, strings.Join(lines, ", "))
				}
			}
		}},
		{"13.1.1, 13.1.2: a list without tags is there, and has none that matches", func(r *http.Request, _ int) {
			for _, name := range []string{"If-Match", "If-None-Match"} {
				if v, ok := r.Header[name]; ok && v[0] == "" {
					r.Header.Set(name, `"none that is here"`)
				}
			}
		}},
		{"13.1.3, 13.1.4: what is not one date is ignored", func(r *http.Request, _ int) {
			for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
				if len(r.Header[name]) > 1 {
					r.Header.Del(name)
				}
			}
		}},
		{"13.1.5: If-Range is one tag or one date, or else does not hold", func(r *http.Request, _ int) {
			lines, ok := r.Header["If-Range"]
			if !ok {
				return
			}
			if _, err := http.ParseTime(lines[0]); len(lines) > 1 || err != nil && !oneTag.MatchString(lines[0]) {
				r.Header.Del("Range")
			}
		}},
		{"14.2: only GET has ranges", func(r *http.Request, _ int) {
			if r.Method != http.MethodGet {
				r.Header.Del("Range")
			}
		}},
		{"14.1.2: of nothing there are no parts; what is malformed, or has several parts, is ignored (14.2)", func(r *http.Request, size int) {
			lines := r.Header["Range"]
			if len(lines) == 0 {
				return
			}
			part := onePart.FindStringSubmatch(lines[0])
			if size == 0 || len(lines) > 1 || part == nil || part[1]+part[2] == "" || part[1] != "" && part[2] != "" && larger(part[1], part[2]) {
				r.Header.Del("Range")
				return
			}
			// 14.1: units are case-insensitive. 14.1.2: numbers are of any length.
			r.Header.Set("Range", "bytes="+bounded(part[1])+"-"+bounded(part[2]))
		}},
		{"14.1.2: the last 0 bytes are none that can be sent", func(r *http.Request, size int) {
			if v := r.Header.Get("Range"); strings.HasPrefix(v, "bytes=-") && strings.Trim(v[7:], "0") == "" {
				r.Header.Set("Range", fmt.Sprintf("bytes=%d-", size))
			}
		}},
	}
)

// larger compares numbers of any length.
func larger(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return len(a) > len(b) || len(a) == len(b) && a > b
}

// bounded is a number that net/http can read, and that is as good.
func bounded(s string) string {
	if trimmed := strings.TrimLeft(s, "0"); len(trimmed) > 17 {
		return "99999999999999999"
	} else if trimmed != "" {
		return trimmed
	}
	return s[:min(len(s), 1)]
}

// replyCase is a request for content of so many bytes, which is dated or not.
type replyCase struct {
	method string
	size   int
	dated  bool
	tag    string
	header http.Header
}

// oracle answers with net/http's own file server, as the RFC has it.
func (c *replyCase) oracle(content []byte, modified time.Time) *httptest.ResponseRecorder {
	r, w := httptest.NewRequest(c.method, "/", nil), httptest.NewRecorder()
	r.Header = c.header.Clone()
	for _, d := range replyDifferences {
		d.change(r, c.size)
	}
	w.Header().Set("Etag", c.tag)
	w.Header().Set("Content-Type", "text/plain")
	http.ServeContent(w, r, "", modified, bytes.NewReader(content))
	return w
}

// check holds Reply against net/http.
func (c *replyCase) check(t *testing.T) {
	t.Helper()
	content := make([]byte, c.size)
	for i := range content {
		content[i] = byte(i * 7)
	}
	var modified time.Time
	if c.dated {
		modified, _ = http.ParseTime(replyDate)
		modified = modified.Add(400 * time.Millisecond) // dates are whole seconds (section 5.6.7)
	}
	want := c.oracle(content, modified)
	a := &Answer{Status: http.StatusOK, ETag: c.tag, Modified: modified, Size: int64(c.size), Ranges: true, Body: content}
	r := a.Reply(c.method, c.header)
	contentRange, body := "", content[r.Span.From:r.Span.To]
	switch r.Status {
	case http.StatusPartialContent:
		contentRange = fmt.Sprintf("bytes %d-%d/%d", r.Span.From, r.Span.To-1, r.Size)
	case http.StatusRequestedRangeNotSatisfiable:
		contentRange = fmt.Sprintf("bytes */%d", r.Size)
	}
	same := r.Status == want.Code && contentRange == want.Header().Get("Content-Range")
	if same && want.Code < 300 && c.method == http.MethodGet {
		same = bytes.Equal(body, want.Body.Bytes())
	} else if want.Code >= 300 && len(body) > 0 {
		same = false
	}
	if !same || r.Tag != c.tag && want.Code != http.StatusPreconditionFailed {
		t.Errorf("%s of %d bytes, dated %v, tag %s, %v:\ngot  %d %q, %d bytes, %s\nwant %d %q, %d bytes", c.method, c.size, c.dated, c.tag, c.header,
			r.Status, contentRange, len(body), r.Tag, want.Code, want.Header().Get("Content-Range"), want.Body.Len())
	}
}

// replyValues are what a field may say: right, weak, in lists, malformed, and something
// else.
var replyValues = map[string][]string{
	"If-Match": {
		replyTag, "W/" + replyTag, "*", `"other"`, `"other", ` + replyTag, `, ,"other" ,` + replyTag + ",", "", "other",
		replyTag[1:], `"open`, "w/" + replyTag, `"a b", ` + replyTag, `other, ` + replyTag, `"other"` + replyTag, `""`, "W/*", `"a,` + replyTag,
	},
	"If-Modified-Since": {
		replyDate, "Mon, 06 May 2024 07:08:08 GMT", "Mon, 06 May 2024 07:08:10 GMT", "Monday, 06-May-24 07:08:09 GMT",
		"Mon May  6 07:08:09 2024", "2024-05-06", "", "Mon, 06 May 2024 07:08:09 CEST", "Thu, 01 Jan 1970 00:00:00 GMT",
	},
	"If-Range": {
		replyTag, "W/" + replyTag, `"other"`, "*", replyTag + `, "other"`, replyTag + "x", "", replyDate, "Mon, 06 May 2024 07:08:10 GMT",
		"Mon, 06 May 2024 07:08:08 GMT", "yesterday", "Monday, 06-May-24 07:08:09 GMT",
	},
	"Range": {
		"bytes=0-", "bytes=0-0", "bytes=5-9", "bytes=-5", "bytes=-0", "bytes=-00", "bytes=999-", "bytes=1000-", "bytes=0-999", "bytes=0-1000", "bytes=-1000",
		"bytes=-1001", "bytes=5-2", "bytes=0-1,4-5", "bytes=0-,-1", "BYTES=2-3", "Bytes=-0", "bytes= 2-3 ,", "bytes=,,2-3", "bytes=2 - 3", "bytes=+2-3", "bytes=-+3",
		"bytes=99999999999999999999-", "bytes=0-99999999999999999999", "bytes=-99999999999999999999", "bytes=00000000000000000000000002-3", "bytes=3-00000000000000000000000002",
		"bytes=", "bytes", "=0-1", "bytes=-", "bytes=a-b", "bytes=0x1-2", "pages=0-1", "bytes:0-1", "bytes =0-1", "bytes=0-1;2", "", "bytes=,", "bytes=--1", "bytes=1-2-3",
	},
}

func valuesOf(name string) []string {
	switch name {
	case "If-None-Match":
		return replyValues["If-Match"]
	case "If-Unmodified-Since":
		return replyValues["If-Modified-Since"]
	}
	return replyValues[name]
}

// Every value of every field by itself, and each kind of range with each If-Range.
func TestReplyToOneField(t *testing.T) {
	for _, size := range []int{0, 1, 1000} {
		for _, dated := range []bool{false, true} {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, name := range replyFields {
					for _, v := range valuesOf(name) {
						c := replyCase{method, size, dated, replyTag, http.Header{name: {v}}}
						c.check(t)
						if name != "If-Range" {
							continue
						}
						for _, part := range replyValues["Range"] {
							c.header["Range"] = []string{part}
							c.check(t)
						}
					}
				}
			}
		}
	}
}

// Fields together, which have an order (RFC 9110, section 13.2.2), as a seeded property.
func TestReplyIsThatOfNetHTTP(t *testing.T) {
	rng := rand.New(rand.NewPCG(9110, 13))
	seen := map[int]int{}
	for range 30_000 {
		c := replyCase{
			method: []string{http.MethodGet, http.MethodGet, http.MethodHead}[rng.IntN(3)], size: []int{0, 1, 1000, 1000}[rng.IntN(4)],
			dated: rng.IntN(2) == 0, tag: replyTag, header: http.Header{},
		}
		if rng.IntN(8) == 0 {
			c.tag = "W/" + replyTag
		}
		for _, name := range replyFields {
			values := valuesOf(name)
			for range []int{0, 0, 1, 1, 2}[rng.IntN(5-rng.IntN(2))] {
				c.header[name] = append(c.header[name], values[rng.IntN(len(values))])
			}
		}
		c.check(t)
		seen[(&Answer{Status: 200, ETag: c.tag, Size: int64(c.size), Ranges: true}).Reply(c.method, c.header).Status]++
		if t.Failed() {
			return
		}
	}
	for _, status := range []int{200, 206, 304, 412, 416} {
		if seen[status] < 100 {
			t.Errorf("%d answers with %d: %v", seen[status], status, seen)
		}
	}
}

// FuzzReply lets the fuzzer write the fields.
func FuzzReply(f *testing.F) {
	for i, v := range replyValues["Range"] {
		tags, dates, ranges := replyValues["If-Match"], replyValues["If-Modified-Since"], replyValues["If-Range"]
		f.Add(uint8(i), "", "", "", "", ranges[i%len(ranges)], v)
		f.Add(uint8(i), tags[i%len(tags)], tags[(i+3)%len(tags)], dates[i%len(dates)], dates[(i+1)%len(dates)], "", v)
	}
	f.Fuzz(func(t *testing.T, kind uint8, match, noneMatch, modified, unmodified, ifRange, part string) {
		c := replyCase{http.MethodGet, []int{0, 1, 1000}[kind%3], kind&8 > 0, replyTag, http.Header{}}
		if kind&16 > 0 {
			c.method = http.MethodHead
		}
		for i, v := range []string{match, noneMatch, modified, unmodified, ifRange, part} {
			if kind&32 > 0 && v == "" {
				continue
			}
			// Net/http lets nothing else through to a handler.
			if v != strings.Trim(v, " \t") || !httpguts.ValidHeaderFieldValue(v) {
				t.Skip()
			}
			c.header[replyFields[i]] = []string{v}
		}
		c.check(t)
	})
}
