package names

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestDNSNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for in, want := range map[string]string{
		"example.com":        "example.com",
		"EXAMPLE.Com":        "example.com",
		"example.com.":       "example.com",
		"_x.a-b.example.com": "_x.a-b.example.com",
		"xn--mnchen-3ya.de":  "xn--mnchen-3ya.de",
		"münchen.de":         "münchen.de",
		"1.2.3.example":      "1.2.3.example",
		long + ".com":        long + ".com",
		"localhost.example":  "localhost.example",
	} {
		got, err := dnsName(in)
		if err != nil || got.text != want || got.kind != kindDNSLink {
			t.Errorf("%q: got %q, %v", in, got.text, err)
		}
	}
	for _, in := range []string{
		"", ".", "..", "com", "localhost", "LOCALHOST.", "www.localhost", "x.onion", "x.invalid",
		".example.com", "example..com", "example.com..", "a b.com", `a\.com`, `a\000b.com`, `"a".com`, "a/b.com", "a:80.com",
		"127.0.0.1", "1.2.3.4.", "[::1]", "::1", "example.com:80", "*.example.com", "a\x00.com", "a\xff.com",
		long + "a.com", strings.Repeat("a.", 140) + "com",
	} {
		if got, err := dnsName(in); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: got %q, %v; want it refused", in, got.text, err)
		}
	}
}

// TestBadNamesAskNobody is in a world without a resolver.
func TestBadNamesAskNobody(t *testing.T) {
	w := newWorld(t)
	n := w.names(func(o *Options) { o.Resolvers = []string{"http://nobody.example"} })
	for _, in := range []string{"localhost", "127.0.0.1", "bafkqaaa", "QmNoSuchKey", "a..b", strings.Repeat("x", 5000)} {
		if e := fails(t, n, "/ipns/"+in, ErrBadName); len(e.Error()) > 400 {
			t.Errorf("the message has %d bytes", len(e.Error()))
		}
	}
	if got := w.metric("shoal_names_lookups_total"); got != 0 {
		t.Errorf("%v lookups", got)
	}
}

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		`Resolvers[1]: "dns.example"`:         func(o *Options) { o.Resolvers = []string{"https://a.example", "dns.example"} },
		`Resolvers[0]: "ftp://a.example"`:     func(o *Options) { o.Resolvers = []string{"ftp://a.example"} },
		`Resolvers[0]: "https://"`:            func(o *Options) { o.Resolvers = []string{"https://"} },
		`IPNSGateway: "https://a.example/#x"`: func(o *Options) { o.IPNSGateway = "https://a.example/#x" },
		`IPNSGateway: "https://a b"`:          func(o *Options) { o.IPNSGateway = "https://a b" },
		"Entries: 0: expected 1 or more":      func(o *Options) { o.Entries = 0 },
		"Lookups: -3":                         func(o *Options) { o.Lookups = -3 },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "names: "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if n, err := New(o, nil, nil); err == nil || n != nil {
			t.Errorf("New took %s", want)
		}
	}
	if u, err := endpoint("https://dns.example/dns-query{?dns}"); err != nil || u.String() != "https://dns.example/dns-query" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestTextUndoesTheLibrarysEscapes(t *testing.T) {
	all := make([]byte, 250)
	for i := range all {
		all[i] = byte(i + 5)
	}
	for _, want := range []string{"", "plain", `back\slash "quote"`, `\065`, string(all), "\x00\xff"} {
		wire, err := (&dns.Msg{Answer: []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: "x.", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{escaped(want)},
		}}}).Pack()
		if err != nil {
			t.Fatal(err)
		}
		m := new(dns.Msg)
		if err := m.Unpack(wire); err != nil {
			t.Fatal(err)
		}
		if got := text(m.Answer[0].(*dns.TXT)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString(`\` + string([]byte{'0' + s[i]/100, '0' + s[i]/10%10, '0' + s[i]%10}))
	}
	return b.String()
}
