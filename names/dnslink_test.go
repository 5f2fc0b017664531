package names

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/namesys"
	"github.com/miekg/dns"
)

func TestChainOfDNSLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("a.example.com", "/ipns/b.example.net/path-b", 300)
		z.link("b.example.net", pageA+"/path-c", 120)
		n := w.names(nil)
		if ttl := resolves(t, n, "/ipns/a.example.com/path-a", pageA+"/path-c/path-b/path-a"); ttl != 120*time.Second {
			t.Errorf("got a TTL of %s, want the shortest on the way", ttl)
		}
		resolves(t, n, "/ipns/a.example.com", pageA+"/path-c/path-b")
		resolves(t, n, "/ipns/A.Example.COM./x/", pageA+"/path-c/path-b/x/")
		if z.count("a.example.com") != 1 || z.count("b.example.net") != 1 {
			t.Error("a name was asked for twice")
		}

		p, ttl, err := n.DNSLink(context.Background(), "a.example.com")
		if err != nil || p.String() != "/ipns/b.example.net/path-b" || ttl != 300*time.Second {
			t.Errorf("DNSLink: got %v, %s, %v", p, ttl, err)
		}
	})
}

func TestImmutablePathIsReturnedAsItIs(t *testing.T) {
	n := newWorld(t).names(nil)
	got, ttl, err := n.Resolve(context.Background(), mustPath(t, pageA+"/x/"))
	if err != nil || got.String() != pageA+"/x/" || ttl != 0 {
		t.Fatalf("got %v, %s, %v", got, ttl, err)
	}
}

func TestCircleAndDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("self.example.com", "/ipns/SELF.example.com/deeper", 60)
		z.link("a.example.com", "/ipns/b.example.com", 60)
		z.link("b.example.com", "/ipns/c.example.com", 60)
		z.link("c.example.com", "/ipns/a.example.com", 60)
		n := w.names(nil)
		for _, name := range []string{"self", "a", "b"} {
			e := fails(t, n, "/ipns/"+name+".example.com", ErrRecursion)
			if !errors.Is(e, namesys.ErrResolveRecursion) || !strings.Contains(e.Detail, "itself") {
				t.Errorf("got %v", e)
			}
		}
		for i := range depthLimit {
			z.link(fmt.Sprintf("n%d.example.com", i), fmt.Sprintf("/ipns/n%d.example.com", i+1), 60)
		}
		z.link(fmt.Sprintf("n%d.example.com", depthLimit), pageA, 60)
		resolves(t, n, "/ipns/n1.example.com", pageA) // as many names as may be
		if e := fails(t, n, "/ipns/n0.example.com", ErrRecursion); !strings.Contains(e.Detail, strconv.Itoa(depthLimit)) {
			t.Errorf("got %v", e)
		}
	})
}

func TestParseDNSLink(t *testing.T) {
	a, b := "dnslink="+pageA, "dnslink="+pageB
	for name, tc := range map[string]struct {
		records []string
		want    []string
	}{
		"one":                     {[]string{a}, []string{pageA}},
		"with a path":             {[]string{a + "/x/y"}, []string{pageA + "/x/y"}},
		"ipns":                    {[]string{"dnslink=/ipns/example.org"}, []string{"/ipns/example.org"}},
		"among others":            {[]string{"v=spf1 -all", a, "google-site-verification=x"}, []string{pageA}},
		"of other systems":        {[]string{"dnslink=/hyper/abc", a, "dnslink=/ipld/" + pageA[6:]}, []string{pageA}},
		"twice the same":          {[]string{a, a}, []string{pageA}},
		"two, in either order":    {[]string{b, a}, []string{pageA, pageB}},
		"two, the other way":      {[]string{a, b}, []string{pageA, pageB}},
		"an invalid one besides":  {[]string{"dnslink=/ipfs/notacid", a}, []string{pageA}},
		"none":                    {nil, nil},
		"without the key":         {[]string{pageA}, nil},
		"without a namespace":     {[]string{"dnslink=" + pageA[6:]}, nil},
		"empty":                   {[]string{"", "dnslink=", "dnslink=/", "dnslink=/ipfs/", "dnslink=/ipns/"}, nil},
		"with a space before":     {[]string{" " + a}, nil},
		"in capitals":             {[]string{"DNSLINK=" + pageA}, nil},
		"of unreasonable length":  {[]string{a + strings.Repeat("/x", maxTarget/2)}, nil},
		"with bytes of all kinds": {[]string{"dnslink=\x00\xff", "dnslink=/ipfs/\x00"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range parseDNSLink(tc.records) {
				got = append(got, p.String())
			}
			if !slices.Equal(got, tc.want) {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTXTRecordsOfAllShapes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		n := w.names(nil)
		long := pageA + "/" + strings.Repeat("a long path of many strings/", 20) + "end"
		z.link("long.example.com", long, 60)
		resolves(t, n, "/ipns/long.example.com", long)

		odd := pageA + `/a "quoted" \ back\\slash \065 ünïcode`
		z.mu.Lock()
		// The library wants its own escapes when packing.
		z.records["_dnslink.odd.example.com."] = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: "_dnslink.odd.example.com.", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60},
			Txt: []string{"dnslink=" + strings.ReplaceAll(odd, `\`, `\\`)},
		}}
		z.mu.Unlock()
		resolves(t, n, "/ipns/odd.example.com", odd)

		z.set("two.example.com", 60, "dnslink="+pageB, "dnslink="+pageA, "other")
		resolves(t, n, "/ipns/two.example.com", pageA)
		if w.logCount("several DNSLinks") != 1 {
			t.Error("two DNSLinks on one name are not logged")
		}
	})
}

func TestAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		n := w.names(nil)
		alias := func(from, to string) {
			from = "_dnslink." + from
			z.with(func(z *zone) {
				z.records[from] = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: from, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 45}, Target: "_dnslink." + to}}
			})
		}
		z.link("real.example.net", pageA, 600)
		alias("alias.example.com.", "real.example.net.")
		if ttl := resolves(t, n, "/ipns/alias.example.com", pageA); ttl != 45*time.Second {
			t.Errorf("got a TTL of %s, want the alias's", ttl)
		}
		alias("dangling.example.com.", "nothing.example.net.")
		fails(t, n, "/ipns/dangling.example.com", ErrNotFound)
		alias("x.example.com.", "y.example.com.")
		alias("y.example.com.", "x.example.com.")
		fails(t, n, "/ipns/x.example.com", ErrUnavailable)
	})
}

func TestNoDNSLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		n := w.names(nil)
		e := fails(t, n, "/ipns/none.example.com/x", ErrNotFound)
		if !errors.Is(e, namesys.ErrMissingDNSLinkRecord) || !strings.Contains(e.Error(), "_dnslink.none.example.com") {
			t.Errorf("got %v", e)
		}
		z.set("other.example.com", 60, "v=spf1 -all")
		if e := fails(t, n, "/ipns/other.example.com", ErrNotFound); !errors.Is(e, namesys.ErrResolveFailed) {
			t.Errorf("got %v", e)
		}
	})
}

func TestAbsenceIsRememberedAsTheZoneSays(t *testing.T) {
	for name, tc := range map[string]struct {
		soa  *dns.SOA
		want time.Duration
	}{
		"no SOA":         {nil, 30 * time.Second},
		"minimum":        {&dns.SOA{Hdr: dns.RR_Header{Ttl: 3600}, Minttl: 12}, 12 * time.Second},
		"TTL of the SOA": {&dns.SOA{Hdr: dns.RR_Header{Ttl: 9}, Minttl: 3600}, 9 * time.Second},
		"too short":      {&dns.SOA{Hdr: dns.RR_Header{Ttl: 0}, Minttl: 0}, 5 * time.Second},
		"too long":       {&dns.SOA{Hdr: dns.RR_Header{Ttl: 86400}, Minttl: 86400}, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, z := newWorld(t), newZone()
				w.serve("dns.example", z)
				if tc.soa != nil {
					tc.soa.Hdr.Name, tc.soa.Hdr.Rrtype, tc.soa.Hdr.Class = "example.com.", dns.TypeSOA, dns.ClassINET
					tc.soa.Ns, tc.soa.Mbox = "ns.example.com.", "admin.example.com."
				}
				z.soa = tc.soa
				n := w.names(nil)
				fails(t, n, "/ipns/none.example.com", ErrNotFound)
				z.link("none.example.com", pageA, 60)
				time.Sleep(tc.want - time.Millisecond)
				fails(t, n, "/ipns/none.example.com", ErrNotFound)
				if z.count("none.example.com") != 1 {
					t.Errorf("asked %d times", z.count("none.example.com"))
				}
				time.Sleep(time.Millisecond)
				resolves(t, n, "/ipns/none.example.com", pageA)
			})
		})
	}
}

func TestFaultsOfAResolver(t *testing.T) {
	for name, fault := range map[string]func(z *zone){
		"SERVFAIL": func(z *zone) { z.rcode = dns.RcodeServerFailure },
		"REFUSED":  func(z *zone) { z.rcode = dns.RcodeRefused },
		"hangs":    func(z *zone) { z.delay = time.Hour },
		"HTTP 500": func(z *zone) {
			z.mangle = func(w http.ResponseWriter, _ []byte) bool { w.WriteHeader(500); return true }
		},
		"empty":   func(z *zone) { z.mangle = func(w http.ResponseWriter, _ []byte) bool { return true } },
		"garbage": func(z *zone) { z.mangle = writes([]byte("this is not DNS, is it?")) },
		"cut off": func(z *zone) {
			z.mangle = func(w http.ResponseWriter, b []byte) bool { w.Write(b[:len(b)-9]); return true }
		},
		"connection":  func(z *zone) { z.mangle = func(http.ResponseWriter, []byte) bool { panic(http.ErrAbortHandler) } },
		"endless":     func(z *zone) { z.mangle = writes(make([]byte, 1<<20)) },
		"HTML":        func(z *zone) { z.mangle = html },
		"truncated":   func(z *zone) { z.mangle = flips(2, 0x02) },
		"no answer":   func(z *zone) { z.mangle = flips(2, 0x80) },
		"other name":  func(z *zone) { z.mangle = flips(20, 0x01) },
		"other class": func(z *zone) { z.mangle = func(w http.ResponseWriter, b []byte) bool { return otherClass(w, b) } },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, bad, good := newWorld(t), newZone(), newZone()
				w.serve("dns.example", bad)
				w.serve("dns2.example", good)
				bad.link("www.example.com", pageB, 60)
				good.link("www.example.com", pageA, 60)
				fault(bad)
				n := w.names(nil)
				resolves(t, n, "/ipns/www.example.com", pageA)

				alone := w.names2(t, "http://dns.example")
				e := fails(t, alone, "/ipns/www.example.com", ErrUnavailable)
				if e.Cause == nil || !strings.Contains(e.Cause.Error(), "dns.example") {
					t.Errorf("the cause does not say who failed: %v", e.Cause)
				}
			})
		})
	}
}

// names2 is another Names in the same world, without metrics.
func (w *world) names2(t *testing.T, resolver string) *Names {
	opts := DefaultOptions()
	opts.Resolvers = []string{resolver}
	n, err := newNames(opts, &http.Transport{DialContext: w.dial, DisableKeepAlives: true}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.stop = append([]func(){func() { n.Close() }}, w.stop...)
	return n
}

func writes(b []byte) func(http.ResponseWriter, []byte) bool {
	return func(w http.ResponseWriter, _ []byte) bool { w.Write(b); return true }
}

func html(w http.ResponseWriter, _ []byte) bool {
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "<html>welcome to the captive portal</html>")
	return true
}

// flips changes bits of one byte of the message.
func flips(at int, bits byte) func(http.ResponseWriter, []byte) bool {
	return func(w http.ResponseWriter, b []byte) bool {
		b = slices.Clone(b)
		b[at] ^= bits
		w.Write(b)
		return true
	}
}

func otherClass(w http.ResponseWriter, b []byte) bool {
	m := new(dns.Msg)
	if m.Unpack(b) == nil {
		m.Question[0].Qclass = dns.ClassCHAOS
		b, _ = m.Pack()
	}
	w.Write(b)
	return true
}

func TestDeadFirstResolverIsAskedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, dead, good := newWorld(t), newZone(), newZone()
		w.serve("dns.example", dead)
		w.serve("dns2.example", good)
		dead.delay = time.Hour
		n := w.names(nil)
		ask := func(host string) time.Duration {
			good.link(host, pageA, 60)
			start := time.Now()
			resolves(t, n, "/ipns/"+host, pageA)
			return time.Since(start)
		}
		for _, host := range []string{"a.example.com", "b.example.com", "c.example.com"} {
			if took := ask(host); took != dnsTimeout {
				t.Fatalf("%s took %s", host, took)
			}
		}
		if took := ask("d.example.com"); took != 0 {
			t.Fatalf("a lookup waits %s for a resolver known to be dead", took)
		}
		dead.with(func(z *zone) { z.delay = 0 })
		dead.link("e.example.com", pageB, 60)
		time.Sleep(downFor)
		resolves(t, n, "/ipns/e.example.com", pageB)
		if down, up := w.logCount("does not answer"), w.logCount("answers again"); down != 1 || up != 1 {
			t.Fatalf("logged down %d times, up %d times", down, up)
		}
	})
}

func TestBrokenNamesDoNotBringAResolverIntoDisrepute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.rcode = dns.RcodeServerFailure
		n := w.names(nil)
		for _, l := range "abcdefgh" {
			fails(t, n, "/ipns/"+string(l)+".broken.example", ErrUnavailable)
		}
		if w.logCount("does not answer") != 0 {
			t.Fatal("SERVFAIL for some names counts as a dead resolver")
		}
	})
}

// TestOverSockets asks a resolver and a gateway over TCP, as in earnest.
func TestOverSockets(t *testing.T) {
	z, g := newZone(), newRecords()
	resolver, gateway := httptest.NewServer(z), httptest.NewServer(g)
	defer resolver.Close()
	defer gateway.Close()
	opts := DefaultOptions()
	opts.Resolvers = []string{resolver.URL + "/dns-query"}
	opts.IPNSGateway = gateway.URL + "/"
	n, err := New(opts, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	k := newKey(t)
	g.set(k.name, k.sign(pageA+"/site", 1, time.Hour, time.Minute))
	z.link("www.example.com", k.path(), 30)
	if ttl := resolves(t, n, "/ipns/www.example.com/index.html", pageA+"/site/index.html"); !near(ttl, 30*time.Second) {
		t.Errorf("got a TTL of %s", ttl)
	}
	raw, err := n.Record(context.Background(), k.name)
	if err != nil || len(raw) == 0 {
		t.Errorf("Record: %d bytes, %v", len(raw), err)
	}
}
