package list

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/record"
)

func TestNewestFirstAndByOwner(t *testing.T) {
	l := alone(t, newMemory())
	all := pins("p", 300)
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i := range all {
		all[i].Owner = []string{"x", "y"}[int(all[i].Created.UnixMilli())%2]
	}
	add(t, l, all...)
	slices.SortFunc(all, func(a, b record.Pin) int { return b.Created.Compare(a.Created) })
	i := 0
	for p := range l.All() {
		if p.ID != all[i].ID {
			t.Fatalf("%d: %s, want %s", i, p.ID, all[i].ID)
		}
		i++
	}
	n := 0
	for p := range l.Owned("x") {
		if p.Owner != "x" {
			t.Error(p.Owner)
		}
		if n++; n == 10 {
			break
		}
	}
	for range l.Owned("nobody") {
		t.Error("nobody has a pin")
	}
	if i != 300 || n != 10 || l.Len() != 300 {
		t.Error(i, n, l.Len())
	}
}

func TestIterationSeesOneMoment(t *testing.T) {
	l := alone(t, newMemory())
	add(t, l, pins("p", 500)...)
	n := 0
	for p := range l.All() {
		if err := l.Replace(t.Context(), []string{p.ID}, pin("new "+p.ID)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 500 || l.Len() != 500 {
		t.Error(n, l.Len())
	}
}

func TestPinIsKeptWhole(t *testing.T) {
	store := newMemory()
	l := alone(t, store)
	p := pin("1")
	p.Origins = []string{"/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"}
	p.Meta = map[string]string{"a <&>": "ü", "": "x"}
	p.Replicas, p.Replaces, p.Created = 3, "0", epoch.Add(123456)
	add(t, l, p)
	p.Meta["later"], p.Origins[0] = "changed", "changed"
	l.Close()
	l = alone(t, store)
	got, ok := l.Get("1")
	if !ok || len(got.Meta) != 2 || got.Meta["a <&>"] != "ü" || !strings.HasPrefix(got.Origins[0], "/ip4/192") || got.Replicas != 3 ||
		got.Replaces != "0" || !got.Created.Equal(epoch) || got.Created.Location() != time.UTC || got.CID != p.CID || got.Name != p.Name || got.Owner != "owner" {
		t.Errorf("%+v", got)
	}
}

func TestCreatedIsUniqueWithinAnOwner(t *testing.T) {
	l := alone(t, newMemory())
	same := make([]record.Pin, 100)
	for i := range same {
		same[i] = pin(fmt.Sprint("batch ", i))
		same[i].Created = epoch
	}
	add(t, l, same...)
	early := pin("early")
	early.Created = epoch.Add(-time.Hour)
	other := pin("other")
	other.Owner, other.Created = "other", epoch
	add(t, l, early, other)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { add(t, l, pin(fmt.Sprint("single ", i))) }) // no time given
	}
	wg.Wait()
	seen := map[int64]bool{}
	for p := range l.Owned("owner") {
		if seen[p.Created.UnixMilli()] {
			t.Error("twice:", p.Created)
		}
		seen[p.Created.UnixMilli()] = true
	}
	if p, _ := l.Get("early"); !p.Created.Equal(early.Created) {
		t.Error("moved although it was free:", p.Created)
	}
	if p, _ := l.Get("other"); !p.Created.Equal(epoch) {
		t.Error("moved because of another owner:", p.Created)
	}
}

func TestAllOrNothing(t *testing.T) {
	l := alone(t, newMemory())
	add(t, l, pin("1"), pin("2"))
	bad := pin("bad")
	bad.Name = strings.Repeat("n", record.MaxName+1)
	for what, test := range map[string]struct {
		err  error
		want error
	}{
		"there already":  {l.Add(t.Context(), pin("3"), pin("1")), ErrExists},
		"twice at once":  {l.Add(t.Context(), pin("3"), pin("3")), ErrExists},
		"bad pin":        {l.Add(t.Context(), pin("3"), bad), nil},
		"unknown":        {l.Remove(t.Context(), "1", "4"), record.ErrNotFound},
		"removed twice":  {l.Remove(t.Context(), "1", "1"), record.ErrNotFound},
		"replace":        {l.Replace(t.Context(), []string{"4"}, pin("3")), record.ErrNotFound},
		"replace by old": {l.Replace(t.Context(), []string{"1"}, pin("2")), ErrExists},
	} {
		if test.err == nil || test.want != nil && !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v", what, test.err)
		}
	}
	want(t, l, "1", "2")
	remove(t, l, "1")
	if err := l.Remove(t.Context(), "1"); !errors.Is(err, record.ErrNotFound) {
		t.Error(err)
	}
	audit(t, l)
}

func TestBounds(t *testing.T) {
	l := alone(t, newMemory())
	for what, spoil := range map[string]func(*record.Pin){
		"no ID":         func(p *record.Pin) { p.ID = "" },
		"long ID":       func(p *record.Pin) { p.ID = strings.Repeat("i", maxID+1) },
		"no owner":      func(p *record.Pin) { p.Owner = "" },
		"long owner":    func(p *record.Pin) { p.Owner = strings.Repeat("o", maxOwner+1) },
		"long replaces": func(p *record.Pin) { p.Replaces = strings.Repeat("i", maxID+1) },
		"no CID":        func(p *record.Pin) { p.CID = cid.Undef },
		"21 origins":    func(p *record.Pin) { p.Origins = make([]string, record.MaxOrigins+1) },
		"large meta":    func(p *record.Pin) { p.Meta = map[string]string{"a": strings.Repeat("v", record.MaxMetaBytes)} },
		"replicas":      func(p *record.Pin) { p.Replicas = -1 },
		"large in JSON": func(p *record.Pin) { p.Origins = []string{strings.Repeat("\x00", 100_000)} },
	} {
		p := pin("x")
		spoil(&p)
		if err := l.Add(t.Context(), p); err == nil {
			t.Error(what, "is accepted")
		}
	}
	if l.Len() != 0 {
		t.Error(ids(l))
	}
}

func TestFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, store := newNetwork(), newMemory()
		a, b := n.join(t, "a", store, nil), n.join(t, "b", newMemory(), nil)
		add(t, a, pin("1"))
		n.converge(t, soon)
		full := errors.New("no space left on device")
		store.setFail(full)
		if err := a.Add(t.Context(), pin("2")); !errors.Is(err, full) {
			t.Error(err)
		}
		if err := a.Remove(t.Context(), "1"); !errors.Is(err, full) {
			t.Error(err)
		}
		add(t, b, pin("3"))
		time.Sleep(soon)
		want(t, a, "1") // and it does not pretend to know of the third
		store.setFail(nil)
		add(t, a, pin("4"))
		n.converge(t, soon)
		want(t, a, "1", "3", "4")
	})
}

// TestLostRecordsComeBack damages a database in ways that must not look like removals.
func TestLostRecordsComeBack(t *testing.T) {
	for what, damage := range map[string]func(t *testing.T, store *memory, victim dot){
		"a pin is gone":       func(t *testing.T, s *memory, d dot) { s.Delete(t.Context(), keyOf(d)) },
		"a pin is unreadable": func(t *testing.T, s *memory, d dot) { s.Put(t.Context(), keyOf(d), []byte(`{"id":`)) },
		"the sum is gone":     func(t *testing.T, s *memory, d dot) { s.Delete(t.Context(), sumKey); s.Delete(t.Context(), keyOf(d)) },
		"known is unreadable": func(t *testing.T, s *memory, d dot) {
			s.Put(t.Context(), knownKey.ChildString(d.Author.String()), []byte("[[5,1]]"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, store := newNetwork(), newMemory()
				a, b := n.join(t, "a", store, nil), n.join(t, "b", newMemory(), nil)
				add(t, a, pins("a", 20)...)
				add(t, b, pins("b", 20)...)
				remove(t, a, "a-000001")
				n.converge(t, soon)
				before := ids(b)
				victim := a.index.byID["a-000007"].dot
				n.leave("a")
				damage(t, store, victim)
				n.join(t, "a", store, nil)
				n.converge(t, soon)
				want(t, b, before...)
			})
		})
	}
}

func TestLaterFormatIsRefused(t *testing.T) {
	store := newMemory()
	store.Put(t.Context(), versionKey, []byte("2"))
	if _, err := New(DefaultOptions(), Config{Datastore: store}); err == nil || !strings.Contains(err.Error(), "format") {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for field, spoil := range map[string]func(*Options){
		"interval": func(o *Options) { o.Interval = 0 },
	} {
		o := DefaultOptions()
		spoil(&o)
		if _, err := New(o, Config{Datastore: newMemory()}); err == nil || !strings.Contains(err.Error(), field) {
			t.Error(field, err)
		}
	}
	if _, err := New(DefaultOptions(), Config{}); err == nil {
		t.Error("no datastore")
	}
}

func TestMetricsComeAndGo(t *testing.T) {
	reg := prometheus.NewRegistry()
	for range 2 {
		l, err := New(DefaultOptions(), Config{Datastore: newMemory(), Metrics: reg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(DefaultOptions(), Config{Datastore: newMemory(), Metrics: reg}); err == nil {
			t.Error("registered twice")
		}
		if _, err := reg.Gather(); err != nil {
			t.Error(err)
		}
		l.Close()
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 15 {
			n := newNetwork()
			n.spoil(50*time.Millisecond, 0)
			a, b := n.join(t, "a", newMemory(), nil), n.join(t, "b", newMemory(), func([]string) {})
			var wg sync.WaitGroup
			for j := range 20 {
				wg.Go(func() {
					err := a.Add(t.Context(), pins(fmt.Sprint(j), 20)...)
					if err != nil && !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
				})
			}
			time.Sleep(time.Duration(i*7) * time.Millisecond)
			b.Close()
			a.Close()
			wg.Wait()
			a.Close()
			a.Start()
			if err := a.Add(t.Context(), pin("late")); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			for method, h := range a.Handlers() {
				if _, err := h(t.Context(), "b", json.RawMessage(`{}`)); !errors.Is(err, ErrClosed) {
					t.Error(method, err)
				}
			}
		}
	})
}
