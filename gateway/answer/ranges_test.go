package answer

import (
	"bytes"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestParseRange(t *testing.T) {
	const ignored, none = "ignored", "none"
	for _, tc := range []struct {
		field string
		size  int64
		want  string
	}{
		// RFC 9110, section 14.1.2.
		{"bytes=0-499", 10000, "0-499"},
		{"bytes=9500-", 10000, "9500-9999"},
		{"bytes=-500", 10000, "9500-9999"},
		{"bytes=-10001", 10000, "0-9999"},
		{"bytes=0-10000", 10000, "0-9999"},
		{"bytes=9999-9999", 10000, "9999-9999"},
		{"bytes=10000-", 10000, none},
		{"bytes=-0", 10000, none},
		{"bytes=-000", 10000, none},
		{"bytes=0-", 0, none},
		{"bytes=-5", 0, none},
		{"bytes=5-2", 10000, ignored},
		{"bytes=0-1,5-2", 10000, ignored},
		// Section 14.1.2 again: numbers of any length.
		{"bytes=0-99999999999999999999999", 10, "0-9"},
		{"bytes=-99999999999999999999999", 10, "0-9"},
		{"bytes=99999999999999999999999-", 10, none},
		{"bytes=9223372036854775807-", math.MaxInt64, none},
		{"bytes=9223372036854775806-9223372036854775807", math.MaxInt64, "9223372036854775806-9223372036854775806"},
		{"bytes=00000000000000000000000001-2", 10, "1-2"},
		// Section 14.1: units are case-insensitive, and unknown ones are ignored (14.2).
		{"BYTES=1-2", 10, "1-2"},
		{"Bytes=-2", 10, "8-9"},
		{"pages=1-2", 10, ignored},
		{"byte=1-2", 10, ignored},
		{"bytes =1-2", 10, ignored},
		{"=1-2", 10, ignored},
		{"", 10, ignored},
		{"bytes", 10, ignored},
		// A list may have spaces and empty elements (section 5.6.1.2).
		{"bytes= 1-2 ", 10, "1-2"},
		{"bytes=, ,1-2\t,", 10, "1-2"},
		// Section 14.2: several parts may be ignored.
		{"bytes=6-7,0-4", 10, ignored},
		{"bytes=10-, 0-4", 10, ignored},
		{"bytes=-0,-3", 10, ignored},
		{"bytes=10-,11-", 10, ignored},
		{"bytes=", 10, ignored},
		{"bytes=,", 10, ignored},
		// What no ranges-specifier is (section 14.1.1).
		{"bytes=-", 10, ignored},
		{"bytes=1", 10, ignored},
		{"bytes=1-2-3", 10, ignored},
		{"bytes=--1", 10, ignored},
		{"bytes=+1-2", 10, ignored},
		{"bytes=1 -2", 10, ignored},
		{"bytes=1-0x2", 10, ignored},
		{"bytes=a-b", 10, ignored},
		{"bytes=1-2,x", 10, ignored},
		{"bytes=1_0-20", 100, ignored},
		{"bytes=\uff11-2", 10, ignored},
	} {
		s, satisfiable, valid := parseRange(tc.field, tc.size)
		got := ignored
		if satisfiable {
			got = fmt.Sprintf("%d-%d", s.From, s.To-1)
		} else if valid {
			got = none
		}
		if got != tc.want {
			t.Errorf("%q of %d bytes: %s, want %s", tc.field, tc.size, got, tc.want)
		}
	}
}

// FuzzParseRange holds parseRange against net/http, where that does not refuse what is
// to be ignored.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-2,1-", "BYTES=1-,-0", "bytes=99999999999999999999-"} {
		f.Add(s, 10)
	}
	content := bytes.Repeat([]byte("x"), 1000)
	f.Fuzz(func(t *testing.T, field string, size int) {
		if size < 1 || size > len(content) {
			return
		}
		s, satisfiable, valid := parseRange(field, int64(size))
		if satisfiable && (!valid || s.From < 0 || s.From >= s.To || s.To > int64(size)) {
			t.Fatalf("%q of %d bytes: %v", field, size, s)
		}
		if !strings.HasPrefix(field, "bytes=") || strings.ContainsAny(field, ", \t+") || len(field) > 24 {
			return // net/http takes more than it should, or less
		}
		r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
		r.Header.Set("Range", field)
		http.ServeContent(w, r, "x", time.Time{}, bytes.NewReader(content[:size]))
		got := w.Header().Get("Content-Range")
		if want := fmt.Sprintf("bytes %d-%d/%d", s.From, s.To-1, size); w.Code == 206 && satisfiable && got != want {
			t.Fatalf("%q of %d bytes: %s, net/http has %s", field, size, want, got)
		}
		if w.Code == 416 && satisfiable {
			t.Fatalf("%q of %d bytes: %v, net/http has none", field, size, s)
		}
		if w.Code == 206 && !satisfiable && !strings.HasSuffix(got, fmt.Sprintf("%d-%d/%d", size, size-1, size)) {
			// net/http makes an empty part of -0.
			t.Fatalf("%q of %d bytes: valid: %v, net/http has %s", field, size, valid, got)
		}
	})
}
