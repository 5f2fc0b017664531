package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	chunker "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	ihelper "github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// shelf holds blocks in memory, each with the place it pretends to come from. It
// is also the DAG service that fixtures are built into.
type shelf struct {
	mu     sync.Mutex
	blocks map[string]shelved
	local  map[string]bool // held here; what is not is "fetched"
	asked  map[string]int  // Get calls, by multihash
	before func(ctx context.Context, c cid.Cid) error
}

type shelved struct {
	data []byte
	src  block.Source
}

func newShelf() *shelf {
	return &shelf{blocks: map[string]shelved{}, local: map[string]bool{}, asked: map[string]int{}}
}

func (s *shelf) put(c cid.Cid, data []byte, src block.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[string(c.Hash())] = shelved{data, src}
	s.local[string(c.Hash())] = src <= block.Disk
}

// Get implements Blocks.
func (s *shelf) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	s.mu.Lock()
	b, ok := s.blocks[string(c.Hash())]
	if ctx.Err() != nil && b.src != block.Memory {
		s.mu.Unlock()
		return nil, 0, context.Cause(ctx)
	}
	s.asked[string(c.Hash())]++
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(ctx, c); err != nil {
			return nil, 0, err
		}
	}
	if !ok {
		return nil, 0, block.NotFound(c)
	}
	v, err := block.New(c, b.data)
	return v, b.src, err
}

// ViewPart implements PartViewer.
func (s *shelf) ViewPart(_ context.Context, c cid.Cid, size, from, to int, f func([]byte) error) error {
	s.mu.Lock()
	b, ok := s.blocks[string(c.Hash())]
	s.mu.Unlock()
	if !ok || b.src != block.Disk || len(b.data) != size {
		return block.NotFound(c)
	}
	return f(b.data[from:to])
}

// Has implements Blocks.
func (s *shelf) Has(_ context.Context, c cid.Cid) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.local[string(c.Hash())], nil
}

func (s *shelf) gets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, k := range s.asked {
		n += k
	}
	return n
}

func (s *shelf) drop(c cid.Cid) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blocks, string(c.Hash()))
	delete(s.local, string(c.Hash()))
}

// from moves every block to a source.
func (s *shelf) from(src block.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, b := range s.blocks {
		s.blocks[k] = shelved{b.data, src}
		s.local[k] = src <= block.Disk
	}
}

func (s *shelf) hook(f func(ctx context.Context, c cid.Cid) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// dagWriter lets importers write into the shelf.
type dagWriter struct{ s *shelf }

func (w dagWriter) Add(_ context.Context, n ipld.Node) error {
	w.s.put(n.Cid(), n.RawData(), block.Memory)
	return nil
}

func (w dagWriter) AddMany(ctx context.Context, nodes []ipld.Node) error {
	for _, n := range nodes {
		_ = w.Add(ctx, n)
	}
	return nil
}

func (w dagWriter) Get(_ context.Context, c cid.Cid) (ipld.Node, error) {
	b, _, err := w.s.Get(context.Background(), c)
	if err != nil {
		return nil, err
	}
	if c.Prefix().Codec == cid.Raw {
		return merkledag.NewRawNodeWPrefix(b.RawData(), c.Prefix())
	}
	return merkledag.DecodeProtobufBlock(b)
}

func (w dagWriter) GetMany(ctx context.Context, cids []cid.Cid) <-chan *ipld.NodeOption {
	out := make(chan *ipld.NodeOption, len(cids))
	for _, c := range cids {
		n, err := w.Get(ctx, c)
		out <- &ipld.NodeOption{Node: n, Err: err}
	}
	close(out)
	return out
}

func (dagWriter) Remove(context.Context, cid.Cid) error       { return nil }
func (dagWriter) RemoveMany(context.Context, []cid.Cid) error { return nil }

var v1 = merkledag.V1CidPrefix()

// file imports bytes in chunks of 1 KiB with raw leaves.
func (s *shelf) file(t testing.TB, data []byte) ipld.Node {
	t.Helper()
	params := ihelper.DagBuilderParams{Dagserv: dagWriter{s}, Maxlinks: 8, RawLeaves: true, CidBuilder: v1}
	db, err := params.New(chunker.NewSizeSplitter(bytes.NewReader(data), 1024))
	if err != nil {
		t.Fatal(err)
	}
	n, err := balanced.Layout(db)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// repeated makes a file of n equal leaves.
func (s *shelf) repeated(t testing.TB, leaf []byte, n int) cid.Cid {
	t.Helper()
	c := s.raw(t, cid.Raw, leaf)
	fs := unixfs.NewFSNode(unixfs.TFile)
	node := &merkledag.ProtoNode{}
	if err := node.SetCidBuilder(v1); err != nil {
		t.Fatal(err)
	}
	for range n {
		fs.AddBlockSize(uint64(len(leaf)))
		if err := node.AddRawLink("", &ipld.Link{Cid: c, Size: uint64(len(leaf))}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := fs.GetBytes()
	if err != nil {
		t.Fatal(err)
	}
	node.SetData(data)
	s.put(node.Cid(), node.RawData(), block.Memory)
	return node.Cid()
}

// tree imports files given by path.
func (s *shelf) tree(t testing.TB, files map[string]string) cid.Cid {
	t.Helper()
	root := map[string]map[string]string{}
	dir, err := uio.NewDirectory(dagWriter{s}, uio.WithCidBuilder(v1))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if first, rest, nested := strings.Cut(name, "/"); nested {
			if root[first] == nil {
				root[first] = map[string]string{}
			}
			root[first][rest] = data
			continue
		}
		if err := dir.AddChild(context.Background(), name, s.file(t, []byte(data))); err != nil {
			t.Fatal(err)
		}
	}
	for name, sub := range root {
		n, err := dagWriter{s}.Get(context.Background(), s.tree(t, sub))
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.AddChild(context.Background(), name, n); err != nil {
			t.Fatal(err)
		}
	}
	n, err := dir.GetNode()
	if err != nil {
		t.Fatal(err)
	}
	s.put(n.Cid(), n.RawData(), block.Memory)
	return n.Cid()
}

// raw stores a single block.
func (s *shelf) raw(t testing.TB, codec uint64, data []byte) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	c := cid.NewCidV1(codec, mh)
	s.put(c, data, block.Memory)
	return c
}

// child resolves one name in a folder.
func (s *shelf) child(t testing.TB, root cid.Cid, names ...string) cid.Cid {
	t.Helper()
	for _, name := range names {
		n, err := dagWriter{s}.Get(context.Background(), root)
		if err != nil {
			t.Fatal(err)
		}
		l, _, err := n.ResolveLink([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		root = l.Cid
	}
	return root
}

// registry is a table of names: what DNS and IPNS say.
type registry struct {
	mu      sync.Mutex
	links   map[string]string // domain or key to path
	records map[string][]byte
	fail    error
	lookups map[string]int
}

func newRegistry() *registry {
	return &registry{links: map[string]string{}, records: map[string][]byte{}, lookups: map[string]int{}}
}

func (n *registry) set(name, target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[canonicalName(name)] = target
}

func (n *registry) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, k := range n.lookups {
		sum += k
	}
	return sum
}

func (n *registry) lookup(name string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name = canonicalName(name)
	n.lookups[name]++
	if n.fail != nil {
		return "", n.fail
	}
	target, ok := n.links[name]
	if !ok {
		return "", fmt.Errorf("look up %s: %w", name, ErrNameNotFound)
	}
	return target, nil
}

// Resolve implements Names.
func (n *registry) Resolve(_ context.Context, p path.Path) (path.ImmutablePath, time.Duration, error) {
	for range 8 {
		if !p.Mutable() {
			ip, err := path.NewImmutablePath(p)
			return ip, 90 * time.Second, err
		}
		name := p.Segments()[1]
		target, err := n.lookup(name)
		if err != nil {
			return path.ImmutablePath{}, 0, err
		}
		if p, err = path.NewPath(target + strings.TrimPrefix(p.String(), "/ipns/"+name)); err != nil {
			return path.ImmutablePath{}, 0, err
		}
	}
	return path.ImmutablePath{}, 0, fmt.Errorf("%s: too many names", p)
}

// Record implements Names.
func (n *registry) Record(_ context.Context, name ipns.Name) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups[name.String()]++
	r, ok := n.records[name.String()]
	if !ok {
		return nil, ErrNameNotFound
	}
	return r, nil
}

// DNSLink implements Names.
func (n *registry) DNSLink(_ context.Context, fqdn string) (path.Path, time.Duration, error) {
	target, err := n.lookup(fqdn)
	if err != nil {
		return nil, 0, err
	}
	p, err := path.NewPath(target)
	return p, time.Minute, err
}

type pinSet map[cid.Cid]bool

func (p pinSet) Pinned(c cid.Cid) bool { return p[c] }

// edge is a gateway under test and what stands around it.
type edge struct {
	*Gateway
	t     testing.TB
	shelf *shelf
	names *registry
	pins  pinSet
	reg   *prometheus.Registry
	log   *syncBuffer
}

type syncBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	discard bool
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.discard {
		return len(p), nil
	}
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newEdge starts from an open gateway; change narrows it.
func newEdge(t testing.TB, change func(*Options, *edge)) *edge {
	t.Helper()
	e := &edge{t: t, shelf: newShelf(), names: newRegistry(), pins: pinSet{}, reg: prometheus.NewRegistry(), log: &syncBuffer{}}
	opts := DefaultOptions()
	opts.Serve = ServeAny
	opts.Hosts = []Host{{"localhost", true}, {"gw.example.org", false}}
	if change != nil {
		change(&opts, e)
	}
	g, err := New(opts, Deps{
		Blocks: e.shelf, Names: e.names, Pins: e.pins, Registry: e.reg,
		Log: slog.New(slog.NewTextHandler(e.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.Gateway = g
	t.Cleanup(func() { _ = g.Close() })
	return e
}

// response is one that was read to its end.
type response struct {
	*http.Response
	body string
}

// newRequest makes a request as net/http hands it to handlers: httptest's own are in the
// form that proxies are sent.
func newRequest(method, url string) *http.Request {
	r := httptest.NewRequest(method, url, nil)
	r.RequestURI = strings.TrimPrefix(r.RequestURI, r.URL.Scheme+"://"+r.URL.Host)
	if r.RequestURI == "" || r.RequestURI[0] == '?' {
		r.RequestURI = "/" + r.RequestURI
	}
	r.URL.Scheme, r.URL.Host = "", ""
	return r
}

// do sends a request to the handler. Headers are given as "Name: value".
func (e *edge) do(method, url string, headers ...string) response {
	e.t.Helper()
	r := newRequest(method, url)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	if resp.Header.Get("Cache-Status") == "" || resp.Header.Get("Server-Timing") == "" {
		e.t.Errorf("%s %s: no Cache-Status or Server-Timing in %v", method, url, resp.Header)
	}
	return response{resp, string(body)}
}

func (e *edge) get(url string, headers ...string) response {
	e.t.Helper()
	return e.do(http.MethodGet, url, headers...)
}

// want checks the status, and that the body contains a text.
func (a response) want(t testing.TB, status int, text string) response {
	t.Helper()
	if a.StatusCode != status || !strings.Contains(a.body, text) {
		t.Fatalf("got %d %.300q (%v); want %d with %q", a.StatusCode, a.body, a.Header, status, text)
	}
	return a
}

// header checks one header.
func (a response) header(t testing.TB, name, want string) response {
	t.Helper()
	if got := a.Header.Get(name); got != want {
		t.Fatalf("%s: got %q, want %q", name, got, want)
	}
	return a
}

// randomBytes are the same each time, and have no equal leaves.
func randomBytes(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{5}).Read(data)
	return data
}
