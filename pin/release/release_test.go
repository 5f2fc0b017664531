package release

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/record"
)

// world has names that lead where a test says, and pins that stand as it says.
type world struct {
	t      *testing.T
	mu     sync.Mutex
	leads  map[string]string
	stands map[cid.Cid]record.Report
	sites  []cid.Cid
	store  ds.Datastore
}

func newWorld(t *testing.T) *world {
	return &world{t: t, leads: map[string]string{}, stands: map[cid.Cid]record.Report{}, store: dssync.MutexWrap(ds.NewMapDatastore())}
}

const ttl = 10 * time.Second

var errNoName = errors.New("no such name")

func (w *world) Resolve(_ context.Context, p path.Path) (path.ImmutablePath, time.Duration, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.Mutable() {
		ip, err := path.NewImmutablePath(p)
		return ip, 0, err
	}
	to, ok := w.leads[p.Segments()[1]]
	if !ok {
		return path.ImmutablePath{}, 0, errNoName
	}
	full, err := path.NewPath(to + path.SegmentsToString(p.Segments()[2:]...))
	if err != nil {
		return path.ImmutablePath{}, 0, err
	}
	ip, err := path.NewImmutablePath(full)
	return ip, ttl, err
}

func (w *world) Record(context.Context, ipns.Name) ([]byte, error) { return nil, errNoName }
func (w *world) DNSLink(context.Context, string) (path.Path, time.Duration, error) {
	return nil, 0, errNoName
}

func (w *world) SetSites(roots []cid.Cid) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sites = roots
}

func (w *world) Standing(c cid.Cid) record.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stands[c]
}

func (w *world) lead(name, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leads[name] = to
}

func standing(s record.Status, reason string, unfit bool) record.Report {
	return record.Report{Share: record.Share{Status: s, Reason: reason}, Unfit: unfit}
}

func (w *world) stand(c cid.Cid, s record.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stands[c] = s
}

func root(text string) cid.Cid {
	mh, _ := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	return cid.NewCidV1(cid.DagProtobuf, mh)
}

func (w *world) follow(sites ...Site) *Follower {
	w.t.Helper()
	f, err := New(Config{Names: w, Pins: w, Datastore: w.store})
	if err != nil {
		w.t.Fatal(err)
	}
	w.set(f, sites...)
	f.Start()
	synctest.Wait()
	return f
}

// set replaces the sites.
func (w *world) set(f *Follower, sites ...Site) {
	w.t.Helper()
	follow, err := f.Prepare(sites)
	if err != nil {
		w.t.Fatal(err)
	}
	follow()
}

// shows checks where a name leads visitors.
func (w *world) shows(f *Follower, name, want string) {
	w.t.Helper()
	p, err := path.NewPath(name)
	if err != nil {
		w.t.Fatal(err)
	}
	got, _, err := f.Resolve(context.Background(), p)
	if err != nil || got.String() != want {
		w.t.Errorf("%s shows %s (%v), expected %s", name, got, err, want)
	}
}

func (w *world) wants(roots ...cid.Cid) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range roots {
		if !slices.Contains(w.sites, c) {
			w.t.Errorf("%s is not wanted", c)
		}
	}
	if len(w.sites) != len(roots) {
		w.t.Errorf("%d roots are wanted, expected %d", len(w.sites), len(roots))
	}
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

var site = Site{Host: "www.example.org", Content: "/ipns/www.example.org"}

func TestAReleaseGoesLiveWhenItIsWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := root("1"), root("2")
		w.lead("www.example.org", "/ipfs/"+first.String())
		f := w.follow(site)
		// Nothing is known, so what is not whole yet is shown.
		w.shows(f, "/ipns/www.example.org/a/b", "/ipfs/"+first.String()+"/a/b")
		w.wants(first)
		w.lead("www.example.org", "/ipfs/"+second.String()+"/sub")
		w.stand(first, standing(record.Pinned, "", false))
		after(ttl + time.Second)
		w.shows(f, "/ipns/WWW.example.org./a/", "/ipfs/"+first.String()+"/a/")
		w.wants(first, second)
		if list := f.Waiting(); len(list) != 1 || list[0].Site != "www.example.org" || list[0].Release != "/ipfs/"+second.String()+"/sub" {
			t.Errorf("waiting: %+v", list)
		}
		w.stand(second, standing(record.Pinning, "", false))
		after(time.Hour)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+first.String())

		// After a restart the last whole release is known, though the names are not.
		f.Close()
		w.lead("www.example.org", "/ipfs/"+second.String()+"/sub")
		f = w.follow(site)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+first.String())
		w.wants(first, second)
		w.stand(second, standing(record.Pinned, "", false))
		after(time.Second)
		w.shows(f, "/ipns/www.example.org/a", "/ipfs/"+second.String()+"/sub/a")
		w.wants(second)
		if list := f.Waiting(); len(list) != 0 {
			t.Errorf("waiting: %+v", list)
		}
		f.Close()
	})
}

func TestWhatCannotBePinnedIsShownAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second, third := root("1"), root("2"), root("3")
		w.lead("www.example.org", "/ipfs/"+first.String())
		w.stand(first, standing(record.Pinned, "", false))
		f := w.follow(site)
		after(time.Second)
		w.lead("www.example.org", "/ipfs/"+second.String())
		w.stand(second, standing(record.Failed, "a block was not found", false))
		after(2 * time.Hour)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+first.String())
		w.lead("www.example.org", "/ipfs/"+third.String())
		w.stand(third, standing(record.Failed, "does not fit", true))
		after(time.Minute)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+third.String())
		w.wants(third)
		f.Close()
	})
}

func TestSitesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		fixed, one := root("fixed"), root("1")
		w.stand(one, standing(record.Pinned, "", false))
		f := w.follow(Site{Host: "a.example", Content: "/ipfs/" + fixed.String() + "/sub"}, site)
		w.wants(fixed)
		p, _ := path.NewPath("/ipns/www.example.org")
		if _, _, err := f.Resolve(t.Context(), p); !errors.Is(err, errNoName) {
			t.Errorf("a name that leads nowhere: %v", err)
		}
		w.lead("www.example.org", "/ipfs/"+one.String())
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+one.String())
		after(time.Minute)
		w.wants(fixed, one)
		// The name cannot be found any more: what was known goes on.
		w.mu.Lock()
		delete(w.leads, "www.example.org")
		w.mu.Unlock()
		after(time.Hour)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+one.String())
		w.set(f, Site{Host: "b.example", Content: "/ipns/www.example.org/x"})
		w.wants(one)
		w.shows(f, "/ipns/www.example.org", "/ipfs/"+one.String())
		if _, err := f.Prepare([]Site{{Host: "b.example", Content: "/nowhere"}}); err == nil {
			t.Error("content that is no path was accepted")
		}
		w.set(f)
		w.wants()
		f.Close()
	})
}

func TestWaitingIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first, second := root("1"), root("2")
		w.lead("www.example.org", "/ipfs/"+first.String())
		w.stand(first, standing(record.Pinned, "", false))
		f := w.follow(site)
		after(time.Second)
		registry := prometheus.NewRegistry()
		registry.MustRegister(newWaitingMetric(f))
		waits := func() float64 {
			families, err := registry.Gather()
			if err != nil || len(families) != 1 {
				t.Fatal(families, err)
			}
			return families[0].GetMetric()[0].GetGauge().GetValue()
		}
		if got := waits(); got != 0 {
			t.Errorf("waits for %v s", got)
		}
		w.lead("www.example.org", "/ipfs/"+second.String())
		after(time.Minute)
		if got := waits(); got < 45 || got > 60 {
			t.Errorf("waits for %v s", got)
		}
		f.Close()
	})
}
