package origin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/block"
)

// change has a set ask other origins.
func change(t testing.TB, s *Set, o Options) *Change {
	t.Helper()
	c, err := s.Prepare(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
	return c
}

func TestOriginsComeAndGo(t *testing.T) {
	bs := someBlocks(t)
	one, two := newTrustless(bs[0]), newTrustless(bs[1])
	first, second := serve(t, one).URL, serve(t, two).URL
	s := open(t, gatewayOptions(first))
	kept := s.origins()[0].source

	change(t, s, gatewayOptions(second, first))
	if s.Len() != 2 || s.origins()[1].source != kept {
		t.Fatal("an origin that stays was opened again")
	}
	for _, b := range bs[:2] {
		if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
			t.Error(err)
		}
	}
	change(t, s, gatewayOptions(second))
	s.retiring.Wait()
	if err := fetch(t, s, t.Context(), bs[0].Cid()); !ipld.IsNotFound(err) {
		t.Errorf("from an origin that was removed: %v", err)
	}
	if n := seriesOf(t, s, strings.TrimPrefix(first, "http://")); n != 0 {
		t.Errorf("%d series of an origin that was removed", n)
	}
	if n := seriesOf(t, s, strings.TrimPrefix(second, "http://")); n == 0 {
		t.Error("the other's series are gone")
	}
	change(t, s, gatewayOptions())
	if err := fetch(t, s, t.Context(), bs[1].Cid()); !ipld.IsNotFound(err) || s.Len() != 0 {
		t.Errorf("without origins: %v", err)
	}
}

// seriesOf counts the series that name an origin.
func seriesOf(t testing.TB, s *Set, name string) (n int) {
	t.Helper()
	reg := prometheus.NewRegistry()
	if _, err := s.metrics.register(reg); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == name {
					n++
				}
			}
		}
	}
	return n
}

// A token is changed without a new name, and is used from then on.
func TestOriginsTokenIsChanged(t *testing.T) {
	b := someBlocks(t)[0]
	var mu sync.Mutex
	var seen []string
	g := newTrustless(b)
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Get("Authorization"))
		mu.Unlock()
		g.ServeHTTP(w, r)
	}))
	o := gatewayOptions(srv.URL)
	o.Origins[0].Token = "old"
	s := open(t, o)
	name := s.origins()[0].name
	_ = fetch(t, s, t.Context(), b.Cid())
	o = gatewayOptions(srv.URL)
	o.Origins[0].Token = "new"
	change(t, s, o)
	s.retiring.Wait()
	_ = fetch(t, s, t.Context(), b.Cid())
	if len(seen) != 2 || seen[0] != "Bearer old" || seen[1] != "Bearer new" || s.origins()[0].name != name {
		t.Errorf("%q, name %q", seen, s.origins()[0].name)
	}
	if n := requests(s, outcomeOK); n != 2 {
		t.Errorf("%d requests counted", n)
	}
}

// Names stay with those who have them, whatever comes before.
func TestOriginsKeepTheirNames(t *testing.T) {
	g := newTrustless()
	srv := serve(t, g)
	s := open(t, gatewayOptions(srv.URL+"/a", srv.URL+"/b"))
	was := s.origins()[0].name
	change(t, s, gatewayOptions(srv.URL+"/c", srv.URL+"/a"))
	list := s.origins()
	if list[1].name != was || list[0].name == was {
		t.Errorf("names %s, %s", list[0].name, list[1].name)
	}
}

func TestRequestsFinishWithTheOriginsTheyBeganWith(t *testing.T) {
	b := someBlocks(t)[0]
	arrived, release := make(chan struct{}), make(chan struct{})
	g := newTrustless(b)
	srv := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		g.ServeHTTP(w, r)
	}))
	s := open(t, gatewayOptions(srv.URL))
	old := s.origins()[0].source.(*gateway)
	done := make(chan error, 1)
	go func() { done <- fetch(t, s, t.Context(), b.Cid()) }()
	<-arrived
	change(t, s, gatewayOptions(srv.URL)) // stays
	change(t, s, gatewayOptions())        // goes
	if old.life.Err() != nil {
		t.Error("closed with a request under way")
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.retiring.Wait()
	if old.life.Err() == nil {
		t.Error("not closed afterwards")
	}
}

func TestCloseDoesNotWaitForRemovedOrigins(t *testing.T) {
	arrived := make(chan struct{})
	srv := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	s := open(t, gatewayOptions(srv.URL))
	done := make(chan error, 1)
	go func() { done <- fetch(t, s, context.WithoutCancel(t.Context()), makeBlock(t, 10).Cid()) }()
	<-arrived
	change(t, s, gatewayOptions())
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a block out of nothing")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	c, err := s.Prepare(gatewayOptions(srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	if c.Commit(); s.Len() != 0 {
		t.Error("a closed set took another origin")
	}
}

func TestWrongOriginsChangeNothing(t *testing.T) {
	bs := someBlocks(t)
	path := writeCAR(t, filepath.Join(t.TempDir(), "a.car"), bs)
	s := open(t, carOptions(path))
	before := openFiles(t)
	for _, o := range []Options{
		carOptions(path, path+".missing"),
		carOptions(writeCAR(t, filepath.Join(t.TempDir(), "b.car"), bs), path, path+".missing"),
		gatewayOptions("nonsense"),
		{Origins: []Spec{{Type: TypeBitswap, Addr: "/ip4/10.0.0.9/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"}}},
	} {
		if _, err := s.Prepare(o); err == nil || !strings.Contains(err.Error(), "origins[") {
			t.Errorf("got %v", err)
		}
	}
	if err := fetch(t, s, t.Context(), bs[0].Cid()); err != nil || s.Len() != 1 {
		t.Error(err)
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d files are open, %d were", n, before)
	}
}

// A folder of archives whose files changed is read again; one that did not, is not.
func TestArchivesAreReadAgainWhenTheyChanged(t *testing.T) {
	bs := someBlocks(t)
	dir := t.TempDir()
	writeCAR(t, filepath.Join(dir, "a.car"), bs[:1])
	s := open(t, carOptions(dir))
	was := s.origins()[0]
	if c := change(t, s, carOptions(dir)); len(c.Reopened()) != 0 || s.origins()[0].source != was.source {
		t.Error("read again for nothing")
	}
	writeCAR(t, filepath.Join(dir, "b.car"), bs[1:2])
	c := change(t, s, carOptions(dir))
	if len(c.Reopened()) != 1 || c.Reopened()[0] != was.name {
		t.Errorf("reopened %q", c.Reopened())
	}
	s.retiring.Wait()
	if err := fetch(t, s, t.Context(), bs[1].Cid()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "a.car")); err != nil {
		t.Fatal(err)
	}
	change(t, s, carOptions(dir))
	s.retiring.Wait()
	if err := fetch(t, s, t.Context(), bs[0].Cid()); !ipld.IsNotFound(err) {
		t.Errorf("from an archive that was removed: %v", err)
	}
}

// closingPeer is a peer that wants to know when it is no origin any more.
type closingPeer struct{ closed chan struct{} }

func (p *closingPeer) Get(context.Context, cid.Cid) (*block.Verified, block.Source, error) {
	return nil, 0, errors.New("no")
}
func (p *closingPeer) Close() error { close(p.closed); return nil }

func TestPeersAreToldThatTheyAreNoOriginsAnyMore(t *testing.T) {
	p := &closingPeer{make(chan struct{})}
	o := DefaultOptions()
	o.Origins = []Spec{{Type: TypeBitswap, Addr: "/ip4/10.0.0.9/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"}}
	s, err := New(o, func(string) (block.Getter, error) { return p, nil }, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	change(t, s, DefaultOptions())
	<-p.closed
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOriginsChangeUnderLoad(t *testing.T) {
	b := someBlocks(t)[0]
	one, two := serve(t, newTrustless(b)).URL, serve(t, newTrustless(b)).URL
	s := open(t, gatewayOptions(one))
	stop := make(chan struct{})
	var crowd sync.WaitGroup
	for range 4 {
		crowd.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fetch(t, s, t.Context(), b.Cid()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 50 {
		change(t, s, gatewayOptions([]string{one, two}[i%2]))
	}
	close(stop)
	crowd.Wait()
}
