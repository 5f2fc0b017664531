package demo_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/exchange"
	"github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	"github.com/ipfs/boxo/mfs"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/demo"
)

// smallEdge is a complete but plain edge: boxo's gateway over blocks in memory, on
// what stands for its disk, in its siblings' memories, and at one trustless
// origin. It keeps these tests about the demo; what they say about the real edge is
// in real_test.go.
type smallEdge struct {
	spec         demo.EdgeSpec
	memory, disk blockstore.Blockstore
	client       *http.Client
	bytes        *prometheus.CounterVec
	asked        prometheus.Counter
	served, sent prometheus.Counter
	// fleet returns the edges that run and share a secret.
	fleet          func() []*smallEdge
	gateway, admin *http.Server
	addrs          [2]string
	running        sync.WaitGroup
	// corrupt, when set, may change what a visitor gets.
	corrupt func(path string, w http.ResponseWriter) bool
}

func (e *smallEdge) GatewayAddr() string { return e.addrs[0] }
func (e *smallEdge) AdminAddr() string   { return e.addrs[1] }
func (e *smallEdge) SwarmAddr() string   { return e.addrs[1] }

// Stop does not drain: Shutdown would wait five seconds for a connection that the
// other edge's client opened and never needed.
func (e *smallEdge) Stop(context.Context) error {
	err := errors.Join(e.gateway.Close(), e.admin.Close())
	e.client.CloseIdleConnections()
	e.running.Wait()
	return err
}

func startSmall(spec demo.EdgeSpec, disk blockstore.Blockstore, fleet func() []*smallEdge) (*smallEdge, error) {
	if err := os.MkdirAll(spec.Data, 0o755); err != nil {
		return nil, err
	}
	e := &smallEdge{
		spec: spec, memory: blockstore.NewBlockstore(dsync()), disk: disk, client: &http.Client{Transport: &http.Transport{}},
		bytes:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shoal_block_bytes_total"}, []string{"source"}),
		asked:  prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_origin_requests_total"}),
		served: prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_http_requests_total"}),
		sent:   prometheus.NewCounter(prometheus.CounterOpts{Name: "shoal_http_response_bytes_total"}),
		fleet:  fleet,
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e.bytes, e.asked, e.served, e.sent)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("POST /api/v1/add", e.add)
	mux.HandleFunc("GET /api/v1/swarm", e.members)
	mux.HandleFunc("GET /api/v1/swarm/where", e.where)
	e.admin = &http.Server{Handler: mux}
	handler, err := e.handler()
	if err != nil {
		return nil, err
	}
	e.gateway = &http.Server{Handler: handler}
	for i, s := range []*http.Server{e.gateway, e.admin} {
		addr := "127.0.0.1:0"
		if i == 0 {
			addr = spec.Listen
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, errors.Join(err, e.Stop(context.Background()))
		}
		e.addrs[i] = l.Addr().String()
		e.running.Go(func() { _ = s.Serve(l) })
	}
	return e, nil
}

func dsync() ds.Batching { return &lockedStore{MapDatastore: ds.NewMapDatastore()} }

// lockedStore is a map that many requests may use.
type lockedStore struct {
	mu sync.Mutex
	*ds.MapDatastore
}

func (l *lockedStore) Get(ctx context.Context, k ds.Key) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.MapDatastore.Get(ctx, k)
}

func (l *lockedStore) Has(ctx context.Context, k ds.Key) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.MapDatastore.Has(ctx, k)
}

func (l *lockedStore) Put(ctx context.Context, k ds.Key, v []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.MapDatastore.Put(ctx, k, v)
}

func (l *lockedStore) Batch(context.Context) (ds.Batch, error) { return nil, ds.ErrBatchUnsupported }

// farthest is the request's record of where its blocks came from.
type farthest struct {
	mu sync.Mutex
	at block.Source
}

type farthestKey struct{}

func (e *smallEdge) handler() (http.Handler, error) {
	backend, err := gateway.NewBlocksBackend(blockservice.New(blockstore.NewBlockstore(ds.NewNullDatastore()), (*smallExchange)(e)))
	if err != nil {
		return nil, err
	}
	plain := gateway.NewHandler(gateway.Config{DeserializedResponses: true}, backend)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.corrupt != nil && e.corrupt(r.URL.Path, w) {
			return
		}
		if host, _, _ := net.SplitHostPort(r.Host); host == e.spec.SiteHost {
			r.URL.Path = e.spec.SiteContent + r.URL.Path
		}
		f := &farthest{}
		r = r.WithContext(context.WithValue(r.Context(), farthestKey{}, f))
		sw := &statusWriter{ResponseWriter: w, f: f}
		plain.ServeHTTP(sw, r)
		e.served.Inc()
		e.sent.Add(float64(sw.sent))
	}), nil
}

// statusWriter adds the Cache-Status header.
type statusWriter struct {
	http.ResponseWriter
	f    *farthest
	sent int
}

func (w *statusWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.sent += n
	return n, err
}

func (w *statusWriter) WriteHeader(code int) {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	value := "shoal; hit"
	if w.f.at != block.Memory {
		value = "shoal; fwd=uri-miss; detail=" + w.f.at.String()
	}
	w.Header().Set("Cache-Status", value)
	w.ResponseWriter.WriteHeader(code)
}

// smallExchange finds blocks: in memory, on disk, at the origin.
type smallExchange smallEdge

var _ exchange.Interface = (*smallExchange)(nil)

func (e *smallExchange) GetBlock(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	b, from, err := e.find(ctx, c)
	if err != nil {
		return nil, err
	}
	e.bytes.WithLabelValues(from.String()).Add(float64(len(b.RawData())))
	if f, ok := ctx.Value(farthestKey{}).(*farthest); ok {
		f.mu.Lock()
		f.at = max(f.at, from)
		f.mu.Unlock()
	}
	return b, nil
}

func (e *smallExchange) find(ctx context.Context, c cid.Cid) (blocks.Block, block.Source, error) {
	if b, err := e.memory.Get(ctx, c); err == nil {
		return b, block.Memory, nil
	}
	if b, err := e.disk.Get(ctx, c); err == nil {
		return b, block.Disk, e.memory.Put(ctx, b)
	}
	for _, sibling := range e.fleet() {
		for _, tier := range []blockstore.Blockstore{sibling.memory, sibling.disk} {
			if b, err := tier.Get(ctx, c); err == nil {
				return b, block.Sibling, e.memory.Put(ctx, b)
			}
		}
	}
	if e.spec.Origin == "" {
		return nil, 0, block.NotFound(c)
	}
	e.asked.Inc()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.spec.Origin+"/ipfs/"+c.String()+"?format=raw", nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := e.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("origin: %s: %w", res.Status, err)
	}
	b, err := block.New(c, data)
	if err != nil {
		return nil, 0, err
	}
	return b, block.Origin, e.NotifyNewBlocks(ctx, b)
}

func (e *smallExchange) GetBlocks(ctx context.Context, cids []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block, len(cids))
	defer close(out)
	for _, c := range cids {
		b, err := e.GetBlock(ctx, c)
		if err != nil {
			return out, err
		}
		out <- b
	}
	return out, nil
}

// NotifyNewBlocks keeps blocks in memory and on disk.
func (e *smallExchange) NotifyNewBlocks(ctx context.Context, bs ...blocks.Block) error {
	for _, b := range bs {
		if err := errors.Join(e.memory.Put(ctx, b), e.disk.Put(ctx, b)); err != nil {
			return err
		}
	}
	return nil
}

func (e *smallExchange) Close() error { return nil }

func (e *smallEdge) add(w http.ResponseWriter, r *http.Request) {
	id, err := e.importTar(r.Context(), r.Body)
	if err != nil {
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"details": err.Error()}})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"progress": map[string]int{"files": 1}})
	_ = json.NewEncoder(w).Encode(map[string]string{"cid": id.String()})
}

func (e *smallEdge) importTar(ctx context.Context, body io.Reader) (cid.Cid, error) {
	dag := merkledag.NewDAGService(blockservice.New(blockstore.NewBlockstore(dsync()), (*smallExchange)(e)))
	root, err := mfs.NewEmptyRoot(ctx, dag, func(context.Context, cid.Cid) error { return nil }, nil, mfs.WithCidBuilder(merkledag.V1CidPrefix()))
	if err != nil {
		return cid.Undef, err
	}
	for tr := tar.NewReader(body); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return cid.Undef, err
		}
		if hdr.Typeflag == tar.TypeDir {
			continue
		}
		params := helpers.DagBuilderParams{Maxlinks: 1024, RawLeaves: true, CidBuilder: merkledag.V1CidPrefix(), Dagserv: dag}
		db, err := params.New(chunk.NewSizeSplitter(tr, 1<<20))
		if err != nil {
			return cid.Undef, err
		}
		nd, err := balanced.Layout(db)
		if err != nil {
			return cid.Undef, err
		}
		name := "/" + strings.TrimPrefix(hdr.Name, "./")
		if err := mfs.Mkdir(root, filepath.Dir(name), mfs.MkdirOpts{Mkparents: true}); err != nil && filepath.Dir(name) != "/" {
			return cid.Undef, err
		}
		if err := mfs.PutNode(root, name, nd); err != nil {
			return cid.Undef, err
		}
	}
	if err := root.Flush(); err != nil {
		return cid.Undef, err
	}
	nd, err := root.GetDirectory().GetNode()
	if err != nil {
		return cid.Undef, err
	}
	return nd.Cid(), root.Close()
}

func (e *smallEdge) members(w http.ResponseWriter, _ *http.Request) {
	var answer struct {
		Members []map[string]string `json:"members"`
	}
	for _, m := range e.fleet() {
		answer.Members = append(answer.Members, map[string]string{"name": m.spec.Name, "state": "alive"})
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (e *smallEdge) where(w http.ResponseWriter, r *http.Request) {
	c, err := cid.Decode(r.URL.Query().Get("cid"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	holders := []string{}
	for _, m := range e.fleet() {
		inMemory, _ := m.memory.Has(r.Context(), c)
		onDisk, _ := m.disk.Has(r.Context(), c)
		if inMemory || onDisk {
			holders = append(holders, m.spec.Name)
		}
	}
	_ = json.NewEncoder(w).Encode(map[string][]string{"holders": holders})
}

// starter starts small edges and remembers which still run.
type starter struct {
	t       *testing.T
	mu      sync.Mutex
	running []*smallEdge
	names   []string
	disks   map[string]blockstore.Blockstore // by data folder: they outlive an edge
	before  func(demo.EdgeSpec) error
	corrupt func(path string, w http.ResponseWriter) bool
}

func (s *starter) start(_ context.Context, spec demo.EdgeSpec) (demo.Edge, error) {
	if s.before != nil {
		if err := s.before(spec); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	if s.disks == nil {
		s.disks = map[string]blockstore.Blockstore{}
	}
	if s.disks[spec.Data] == nil {
		s.disks[spec.Data] = blockstore.NewBlockstore(dsync())
	}
	disk := s.disks[spec.Data]
	s.mu.Unlock()
	e, err := startSmall(spec, disk, s.fleet)
	if err != nil {
		return nil, err
	}
	if spec.SiteHost != "" {
		e.corrupt = s.corrupt
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = append(s.running, e)
	s.names = append(s.names, spec.Name)
	return &countedEdge{e, s}, nil
}

func (s *starter) fleet() []*smallEdge {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fleet []*smallEdge
	for _, e := range s.running {
		if e.spec.Secret != "" {
			fleet = append(fleet, e)
		}
	}
	return fleet
}

type countedEdge struct {
	*smallEdge
	s *starter
}

func (e *countedEdge) Stop(ctx context.Context) error {
	e.s.mu.Lock()
	e.s.running = slices.DeleteFunc(e.s.running, func(r *smallEdge) bool { return r == e.smallEdge })
	e.s.mu.Unlock()
	return e.smallEdge.Stop(ctx)
}
