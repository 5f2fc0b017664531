package printable

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// acts reports whether a character does something instead of being shown: the control
// characters (C0, DEL and C1), the line and paragraph separators, and those that change
// the direction of what follows (Bidi_Control of UAX #9).
func acts(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// Check returns an error that names the first character that must not be in a name, or
// nil.
func Check(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("%q is not UTF-8", clip(name))
	}
	if i := strings.IndexFunc(name, acts); i >= 0 {
		r, _ := utf8.DecodeRuneInString(name[i:])
		return fmt.Errorf("%q has the control character %U", clip(name), r)
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

// Escape returns s with what must not be in a name written as in Go source: \x1b, \n,
// \u202e.
func Escape(s string) string {
	if utf8.ValidString(s) && !strings.ContainsFunc(s, acts) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if acts(r) || r == utf8.RuneError && n == 1 {
			quoted := fmt.Sprintf("%+q", s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// JSON returns a writer that escapes in JSON what [Escape] does and encoding/json leaves
// as it is. It means the same. Each Write must end with a whole character.
func JSON(w io.Writer) io.Writer { return jsonWriter{w} }

type jsonWriter struct{ io.Writer }

func (j jsonWriter) Write(p []byte) (int, error) {
	var out []byte
	done := 0
	for i := 0; i < len(p); {
		if p[i] < 0x7f { // the others are escaped already, or between the values
			i++
			continue
		}
		r, n := utf8.DecodeRune(p[i:])
		if acts(r) {
			out = fmt.Appendf(append(out, p[done:i]...), `\u%04x`, r)
			done = i + n
		}
		i += n
	}
	if out == nil {
		return j.Writer.Write(p)
	}
	if _, err := j.Writer.Write(append(out, p[done:]...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
