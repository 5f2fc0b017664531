package names

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	pageA = "/ipfs/bafkreicysg23kiwv34eg2d7qweipxwosdo2py4ldv42nbauguluen5v6am"
	pageB = "/ipfs/bafybeiaysi4s6lnjev27ln5icwm6tueaw2vdykrtjkwiphwekaywqhcjze"
)

// world is an Internet in memory: HTTP servers under their host names. It works
// inside a synctest bubble, which sockets do not.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	servers map[string]chan net.Conn
	down    map[string]bool // refuses connections
	stop    []func()
	logged  bytes.Buffer
	reg     *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, servers: make(map[string]chan net.Conn), down: make(map[string]bool), reg: prometheus.NewPedanticRegistry()}
	t.Cleanup(func() {
		for _, stop := range w.stop {
			stop()
		}
	})
	return w
}

// serve runs a real HTTP server for the host.
func (w *world) serve(host string, h http.Handler) {
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	w.servers[host+":80"] = l.conns
	s := &http.Server{Handler: h}
	go s.Serve(l)
	w.stop = append(w.stop, func() { s.Close() })
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	conns, down := w.servers[addr], w.down[addr]
	w.mu.Unlock()
	if conns == nil || down {
		return nil, fmt.Errorf("connect to %s: connection refused", addr)
	}
	here, there := net.Pipe()
	select {
	case conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *world) setDown(host string, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[host+":80"] = down
}

// names returns a Names in this world, with the default options but for the places
// that are asked and what change changes.
func (w *world) names(change func(*Options)) *Names {
	w.t.Helper()
	opts := DefaultOptions()
	for _, host := range []string{"dns.example", "dns2.example"} {
		if w.servers[host+":80"] != nil {
			opts.Resolvers = append(opts.Resolvers, "http://"+host+"/dns-query{?dns}")
		}
	}
	if w.servers["gateway.example:80"] != nil {
		opts.IPNSGateway = "http://gateway.example"
	}
	if change != nil {
		change(&opts)
	}
	// No connection is kept, so that a server that goes down is noticed.
	transport := &http.Transport{DialContext: w.dial, DisableKeepAlives: true}
	log := slog.New(slog.NewTextHandler(&lockedWriter{w: &w.logged, mu: &w.mu}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	n, err := newNames(opts, transport, log, w.reg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.stop = append([]func(){func() { n.Close() }}, w.stop...)
	return n
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (w *world) logCount(s string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.logged.String(), s)
}

// metric sums the series of a metric that have all the given label values.
func (w *world) metric(name string, labels ...string) (sum float64) {
	w.t.Helper()
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := make(map[string]bool)
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			match := true
			for _, l := range labels {
				match = match && have[l]
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// zone is a DNS-over-HTTPS server for some names.
type zone struct {
	mu      sync.Mutex
	records map[string][]dns.RR // by lower-case FQDN
	soa     *dns.SOA            // sent with every denial
	rcode   int                 // answered to everything, if not 0
	delay   time.Duration
	age     string
	mangle  func(w http.ResponseWriter, wire []byte) bool // true: it has answered
	asked   map[string]int
}

func newZone() *zone {
	return &zone{records: make(map[string][]dns.RR), asked: make(map[string]int)}
}

// link gives host a DNSLink, in place of the one it had.
func (z *zone) link(host, target string, ttl int) {
	z.set(host, ttl, "dnslink="+target)
}

func (z *zone) set(host string, ttl int, texts ...string) {
	name := dns.Fqdn("_dnslink." + host)
	var rrs []dns.RR
	for _, t := range texts {
		rr := &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(ttl)}}
		for len(t) > 200 {
			rr.Txt, t = append(rr.Txt, t[:200]), t[200:]
		}
		rr.Txt = append(rr.Txt, t)
		rrs = append(rrs, rr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name] = rrs
}

func (z *zone) remove(host string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.records, dns.Fqdn("_dnslink."+host))
}

func (z *zone) with(f func(z *zone)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f(z)
}

func (z *zone) count(host string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[dns.Fqdn("_dnslink."+host)]
}

func (z *zone) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wire, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("dns"))
	q := new(dns.Msg)
	if err != nil || q.Unpack(wire) != nil || len(q.Question) != 1 || r.Header.Get("Accept") != dnsMessage || r.Method != http.MethodGet {
		http.Error(w, "not a DNS question", http.StatusBadRequest)
		return
	}
	z.mu.Lock()
	z.asked[q.Question[0].Name]++
	a, delay, mangle, age := z.answer(q), z.delay, z.mangle, z.age
	z.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	wire, _ = a.Pack()
	w.Header().Set("Content-Type", dnsMessage)
	if age != "" {
		w.Header().Set("Age", age)
	}
	if mangle == nil || !mangle(w, wire) {
		w.Write(wire)
	}
}

func (z *zone) answer(q *dns.Msg) *dns.Msg {
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	if z.rcode != 0 {
		a.Rcode = z.rcode
		return a
	}
	owner := strings.ToLower(q.Question[0].Name)
	for range 10 {
		rrs := z.records[owner]
		a.Answer = append(a.Answer, rrs...)
		if len(rrs) != 1 || rrs[0].Header().Rrtype != dns.TypeCNAME {
			break
		}
		owner = rrs[0].(*dns.CNAME).Target
	}
	if len(a.Answer) == 0 {
		a.Rcode = dns.RcodeNameError
		if z.soa != nil {
			a.Ns = append(a.Ns, z.soa)
		}
	}
	return a
}

// records is a trustless gateway for IPNS records.
type records struct {
	mu     sync.Mutex
	raw    map[string][]byte
	answer func(w http.ResponseWriter) bool // true: it has answered
	delay  time.Duration
	asked  map[string]int
}

func newRecords() *records {
	return &records{raw: make(map[string][]byte), asked: make(map[string]int)}
}

func (g *records) set(n ipns.Name, raw []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.raw[n.String()] = raw
}

func (g *records) with(f func(g *records)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f(g)
}

func (g *records) count(n ipns.Name) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked[n.String()]
}

func (g *records) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, ok := strings.CutPrefix(r.URL.Path, "/ipns/")
	if !ok || r.Header.Get("Accept") != ipnsRecord || r.URL.Query().Get("format") != "ipns-record" {
		http.Error(w, "not acceptable", http.StatusNotAcceptable)
		return
	}
	g.mu.Lock()
	g.asked[key]++
	raw, answer, delay := g.raw[key], g.answer, g.delay
	g.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return
	}
	if answer != nil && answer(w) {
		return
	}
	if raw == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", ipnsRecord)
	w.Write(raw)
}

// key is an IPNS key and its name.
type key struct {
	t    testing.TB
	sk   crypto.PrivKey
	name ipns.Name
}

func newKey(t testing.TB) key {
	t.Helper()
	sk, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyOf(t, sk)
}

func keyOf(t testing.TB, sk crypto.PrivKey) key {
	t.Helper()
	id, err := peer.IDFromPrivateKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	return key{t, sk, ipns.NameFromPeer(id)}
}

// sign makes a record that is valid for life from now on.
func (k key) sign(target string, seq uint64, life, ttl time.Duration) []byte {
	k.t.Helper()
	rec, err := ipns.NewRecord(k.sk, mustPath(k.t, target), seq, time.Now().Add(life), ttl)
	if err != nil {
		k.t.Fatal(err)
	}
	raw, err := ipns.MarshalRecord(rec)
	if err != nil {
		k.t.Fatal(err)
	}
	return raw
}

func (k key) path() string { return "/ipns/" + k.name.String() }

func mustPath(t testing.TB, s string) path.Path {
	t.Helper()
	p, err := path.NewPath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// resolves checks what a path leads to, and returns the TTL.
func resolves(t testing.TB, n *Names, from, to string) time.Duration {
	t.Helper()
	got, ttl, err := n.Resolve(context.Background(), mustPath(t, from))
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	if got.String() != to {
		t.Fatalf("%s leads to %s, want %s", from, got, to)
	}
	return ttl
}

// fails checks why a path cannot be resolved.
func fails(t testing.TB, n *Names, from string, reason error) *Error {
	t.Helper()
	got, _, err := n.Resolve(context.Background(), mustPath(t, from))
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, reason) {
		t.Fatalf("%s: got %v, %v; want %v", from, got, err, reason)
	}
	if s := err.Error(); strings.Contains(s, "gateway.example") || strings.Contains(s, "dns.example") || strings.Contains(s, "\n") {
		t.Fatalf("the message is not fit for visitors: %q", s)
	}
	return e
}

func near(got, want time.Duration) bool { return got <= want && got > want-time.Second }
