package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// shown are texts, and how they are shown.
var shown = map[string]string{
	"":                         "",
	"home page 3 (ü, 日本, 👩‍💻)": "home page 3 (ü, 日本, 👩‍💻)", // a joiner joins, and nothing else
	`a\b "c" <d>`:              `a\b "c" <d>`,
	"\x1b[31mred\x07":          `\x1b[31mred\a`,
	"two\nlines\r\tand":        `two\nlines\r\tand`,
	"del\x7f c1\u009b31m":      `del\x7f c1\u009b31m`,
	"gpj.\u202eexe\u2066":      `gpj.\u202eexe\u2066`,
	"\u2028\u2029\u200f":       `\u2028\u2029\u200f`,
	"broken \xff\xc3":          `broken \xff\xc3`,
}

func TestEscape(t *testing.T) {
	for in, want := range shown {
		if got := Escape(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		if err := Check(in); (err != nil) != (in != want) {
			t.Errorf("%q: %v", in, err)
		} else if err != nil && Escape(err.Error()) != err.Error() {
			t.Errorf("the error itself has it: %q", err)
		}
	}
	if err := Check(strings.Repeat("ü", 500) + "\n"); err == nil || len(err.Error()) > 200 {
		t.Error(err)
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	for in := range shown {
		var plain, out bytes.Buffer
		if err := json.NewEncoder(&plain).Encode([]string{in, in}); err != nil {
			t.Fatal(err)
		}
		if err := json.NewEncoder(JSON(&out)).Encode([]string{in, in}); err != nil {
			t.Fatal(err)
		}
		var want, got []string
		if json.Unmarshal(plain.Bytes(), &want) != nil || json.Unmarshal(out.Bytes(), &got) != nil || want[0] != got[0] || want[1] != got[1] {
			t.Errorf("%q became %s", in, out.String())
		}
		if line := strings.TrimSuffix(out.String(), "\n"); Escape(line) != line {
			t.Errorf("%q is shown as %q", in, line)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for in := range shown {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if out := Escape(in); Check(out) != nil {
			t.Errorf("%q is shown as %q", in, out)
		}
	})
}
