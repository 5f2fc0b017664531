package names

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func FuzzParseDNSLink(f *testing.F) {
	for _, s := range []string{"", "dnslink=" + pageA, "dnslink=/ipns/example.org/a/../b/", "dnslink=/ipld/x", "dnslink=//", pageA} {
		f.Add(s, "dnslink="+pageB)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		got := parseDNSLink([]string{a, b})
		for _, p := range got {
			if ns := p.Namespace(); ns != "ipfs" && ns != "ipns" {
				t.Fatalf("namespace %q", ns)
			}
			if s := p.Segments(); len(s) < 2 || slices.Contains(s, "") || slices.Contains(s, "..") {
				t.Fatalf("segments %q", s)
			}
		}
		other := parseDNSLink([]string{b, a})
		if len(got) != len(other) || len(got) > 0 && got[0].String() != other[0].String() {
			t.Fatalf("the order of records matters: %v, %v", got, other)
		}
	})
}

func FuzzDoHAnswer(f *testing.F) {
	q := question("_dnslink.example.com")
	q.Id = 0
	wire, _ := q.Pack()
	f.Add(wire, uint32(0))
	for _, a := range []*dns.Msg{txtReply(q, 60, "dnslink="+pageA, "x"), txtReply(q, 60), new(dns.Msg).SetRcode(q, dns.RcodeNameError)} {
		wire, _ := a.Pack()
		f.Add(wire, uint32(10))
	}
	f.Fuzz(func(t *testing.T, body []byte, age uint32) {
		records, ttl, err := parseDoH(q, body, time.Duration(age)*time.Second)
		missing, denied := errors.AsType[*noRecordError](err)
		switch {
		case err == nil && (len(records) == 0 || ttl < 0 || ttl > 1<<31*time.Second):
			t.Fatalf("%d records for %s", len(records), ttl)
		case err != nil && len(records) > 0:
			t.Fatalf("records and an error: %v", err)
		case denied && missing.ttl > 1<<31*time.Second:
			t.Fatalf("absent for %s", missing.ttl)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"example.com", "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", "12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d", "bafkqaaa", "1.2.3.4", "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseName(s)
		if err != nil {
			if !errors.Is(err, ErrBadName) || len(err.Error()) > 1000 {
				t.Fatalf("got %.1000v", err)
			}
			return
		}
		again, err := parseName(n.text)
		if err != nil || again != n {
			t.Fatalf("%q reads as %q, which reads as %q, %v", s, n.text, again.text, err)
		}
		if n.kind == kindDNSLink {
			// What is sent is the name that was checked, label for label.
			wire, err := question(dnslinkPrefix + n.text).Pack()
			if err != nil {
				t.Fatalf("%q cannot be packed: %v", n.text, err)
			}
			if want := len(strings.Split(n.text, ".")) + 1; dns.CountLabel(question(dnslinkPrefix + n.text).Question[0].Name) != want || len(wire) == 0 {
				t.Fatalf("%q has other labels on the wire", n.text)
			}
		}
	})
}

func FuzzIPNSRecord(f *testing.F) {
	k := newKey(f)
	f.Add(k.sign(pageA, 1, 24*365*time.Hour, time.Minute))
	f.Add([]byte("garbage"))
	n, other := &Names{opts: DefaultOptions()}, newKey(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if a, err := n.verify(other.name, raw); err == nil {
			t.Fatalf("a record of nobody's is taken: %v", a)
		}
	})
}
