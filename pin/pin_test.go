package pin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// fleet runs f in a world of n edges, a, b and so on, with a fake clock.
func fleet(t *testing.T, n int, f func(t *testing.T, w *world, edges []*edge)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		var edges []*edge
		for i := range n {
			edges = append(edges, w.start(string(rune('a'+i))))
		}
		after(time.Second)
		f(t, w, edges)
	})
}

func named(edges []*edge, name string) *edge {
	return edges[slices.IndexFunc(edges, func(e *edge) bool { return e.name == name })]
}

func TestOneEdgePinsAndUnpins(t *testing.T) {
	fleet(t, 1, func(t *testing.T, w *world, edges []*edge) {
		e := edges[0]
		c := w.root("site")
		v := e.mustAdd(c, 0)
		if v.Status == record.Pinned || v.Status == record.Failed || !e.Pinned(c) || len(v.Delegates) != 1 {
			t.Errorf("just added: %+v, counts as pinned: %t", v, e.Pinned(c))
		}
		after(500 * time.Millisecond)
		e.mustBe(v.ID, record.Pinning)
		after(time.Second)
		v = e.mustBe(v.ID, record.Pinned)
		if v.Info["replicas"] != "1/2" || v.Info["edges"] != "a" {
			t.Errorf("info %v", v.Info)
		}
		if e.Counts()[record.Pinned] != 1 {
			t.Errorf("counts %v", e.Counts())
		}
		if err := e.Remove(t.Context(), "another", v.ID); !errors.Is(err, record.ErrNotFound) {
			t.Errorf("somebody else's pin: %v", err)
		}
		if err := e.Remove(t.Context(), "owner", v.ID); err != nil {
			t.Fatal(err)
		}
		after(time.Millisecond)
		if h := w.holders(c); len(h) != 0 || e.Pinned(c) || e.Counts()[record.Pinned] != 0 {
			t.Errorf("after unpinning: held by %v, pinned %t, counts %v", h, e.Pinned(c), e.Counts())
		}
	})
}

func TestReplicasAreSpread(t *testing.T) {
	fleet(t, 4, func(t *testing.T, w *world, edges []*edge) {
		held := map[string]int{}
		for i := range 60 {
			c := w.root(fmt.Sprint(i))
			v := edges[i%4].mustAdd(c, 1+i%5)
			after(5 * time.Second)
			want := min(1+i%5, 4)
			if h := w.holders(c); len(h) != want {
				t.Errorf("%d replicas asked for: held by %v", 1+i%5, h)
			} else if !strings.HasPrefix(edges[0].mustBe(v.ID, record.Pinned).Info["replicas"], fmt.Sprint(want)) {
				t.Errorf("info %v", v.Info)
			}
			for _, name := range w.holders(c) {
				held[name]++
			}
			for _, e := range edges {
				if !e.Pinned(c) {
					t.Errorf("does not count as pinned on %s", e.name)
				}
			}
		}
		for _, e := range edges {
			if held[e.name] < 15 {
				t.Errorf("unevenly spread: %v", held)
			}
		}
	})
}

// An edge is lost with its disk and the origin is off: nothing moves for the grace
// time, then everything is back to two replicas. It comes back empty, and everything
// returns to where it belongs.
func TestAnEdgeIsLostAndComesBack(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		var ids []string
		var roots []cid.Cid
		before := map[cid.Cid][]string{}
		for i := range 20 {
			c := w.root(fmt.Sprint(i))
			roots = append(roots, c)
			ids = append(ids, edges[0].mustAdd(c, 2).ID)
		}
		after(5 * time.Second)
		for _, c := range roots {
			before[c] = w.holders(c)
			delete(w.origin, c)
		}
		edges[1].lose()
		after(4 * time.Minute)
		for i, c := range roots {
			if want := slices.DeleteFunc(slices.Clone(before[c]), func(s string) bool { return s == "b" }); !slices.Equal(w.holders(c), want) {
				t.Errorf("within the grace time: held by %v, expected %v", w.holders(c), want)
			}
			edges[2].mustBe(ids[i], record.Pinned)
		}
		after(2 * time.Minute)
		for i, c := range roots {
			if h := w.holders(c); len(h) != 2 {
				t.Errorf("after the grace time: held by %v", h)
			}
			edges[2].mustBe(ids[i], record.Pinned)
		}
		w.start("b")
		after(10 * time.Second)
		for _, c := range roots {
			if !slices.Equal(w.holders(c), before[c]) {
				t.Errorf("when it is back: held by %v, expected %v", w.holders(c), before[c])
			}
		}
	})
}

// A restart moves nothing, not even when an edge that is away was met before the
// restart only.
func TestARestartMovesNothing(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		var roots []cid.Cid
		before := map[cid.Cid][]string{}
		for i := range 20 {
			c := w.root(fmt.Sprint(i))
			roots = append(roots, c)
			edges[0].mustAdd(c, 2)
		}
		after(5 * time.Second)
		for _, c := range roots {
			before[c] = w.holders(c)
		}
		edges[1].stop()
		after(time.Minute)
		edges[0].stop()
		after(time.Second)
		w.start("a")
		after(time.Minute)
		w.start("b")
		after(time.Minute)
		for _, c := range roots {
			if !slices.Equal(w.holders(c), before[c]) {
				t.Errorf("held by %v, expected %v", w.holders(c), before[c])
			}
		}
	})
}

// What is new is not left waiting for an edge that is away.
func TestNewPinsDoNotWaitForAnAbsentEdge(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		edges[1].stop()
		after(30 * time.Second)
		for i := range 20 {
			c := w.root(fmt.Sprint(i))
			v := edges[0].mustAdd(c, 2)
			after(5 * time.Second)
			if h := w.holders(c); !slices.Equal(h, []string{"a", "c"}) {
				t.Errorf("held by %v", h)
			}
			edges[2].mustBe(v.ID, record.Pinned)
		}
	})
}

func TestWhatNobodyHasIsTriedAndWhatDoesNotFitFails(t *testing.T) {
	fleet(t, 2, func(t *testing.T, w *world, edges []*edge) {
		missing, large := w.root("missing"), w.root("large")
		delete(w.origin, missing)
		v := edges[0].mustAdd(missing, 2)
		after(time.Minute)
		edges[1].mustBe(v.ID, record.Pinning)
		edges[0].disk.full = true
		v = edges[1].mustAdd(large, 2)
		after(3 * time.Second)
		got := edges[1].mustBe(v.ID, record.Failed)
		if !strings.Contains(got.Info["reason"], "a: does not fit") || got.Info["edges"] != "b" {
			t.Errorf("info %v", got.Info)
		}
		if s := edges[1].Standing(large); !s.Unfit || s.Status != record.Failed {
			t.Errorf("standing %+v", s)
		}
	})
}

// What is replaced stays until the new pin is pinned or has failed, and is not fetched
// again because of it.
func TestReplace(t *testing.T) {
	fleet(t, 2, func(t *testing.T, w *world, edges []*edge) {
		first, second, third := w.root("first"), w.root("second"), w.root("third")
		delete(w.origin, second)
		one := edges[0].mustAdd(first, 2)
		after(3 * time.Second)
		two, err := edges[1].Replace(t.Context(), "owner", one.ID, record.Request{CID: second})
		if err != nil || two.Replaces != one.ID || two.ID == one.ID {
			t.Fatalf("replace: %+v, %v", two, err)
		}
		if _, err := edges[0].Get(t.Context(), "owner", one.ID); !errors.Is(err, record.ErrNotFound) {
			t.Errorf("what was replaced: %v", err)
		}
		after(time.Minute)
		if h := w.holders(first); len(h) != 2 {
			t.Errorf("what was replaced is held by %v", h)
		}
		three, err := edges[0].Replace(t.Context(), "owner", two.ID, record.Request{CID: third})
		if err != nil {
			t.Fatal(err)
		}
		after(900 * time.Millisecond)
		if h := w.holders(first); len(h) != 2 {
			t.Errorf("the last that was whole is held by %v", h)
		}
		after(3 * time.Second)
		edges[1].mustBe(three.ID, record.Pinned)
		if h := append(w.holders(first), w.holders(second)...); len(h) != 0 {
			t.Errorf("what was replaced is still held by %v", h)
		}
		edges[0].stop()
		w.start("a")
		after(time.Minute)
		if h := w.holders(first); len(h) != 0 {
			t.Errorf("after a restart, what was replaced is held by %v", h)
		}
	})
}

// An import is held where it was made until the edges that are to hold it do.
func TestImportGoesOverIntoAPin(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		for i := range 10 {
			c := w.root(fmt.Sprint(i))
			w.mu.Lock()
			delete(w.origin, c)
			edges[0].imports[c] = true
			w.mu.Unlock()
			v, err := edges[0].Import(t.Context(), record.Request{CID: c, Replicas: 1, Name: "site"})
			if err != nil {
				t.Fatal(err)
			}
			again, err := edges[0].Import(t.Context(), record.Request{CID: c, Name: "site"})
			if err != nil || again.ID != v.ID {
				t.Errorf("imported again: %s and %s, %v", v.ID, again.ID, err)
			}
			for range 40 {
				after(100 * time.Millisecond)
				w.mu.Lock()
				imported := edges[0].imports[c]
				w.mu.Unlock()
				if !imported && len(w.holders(c)) == 0 {
					t.Fatal("nobody protects it")
				}
			}
			if h := w.holders(c); len(h) != 1 || len(edges[0].imports) != 0 {
				t.Errorf("held by %v, and by imports %v", h, edges[0].imports)
			}
		}
	})
}

// An edge that was killed between an import and its pin makes the pin when it starts.
func TestImportsWithoutAPinGetOne(t *testing.T) {
	fleet(t, 2, func(t *testing.T, w *world, edges []*edge) {
		c := w.root("site")
		delete(w.origin, c)
		edges[0].stop()
		edges[0].imports[c] = true
		w.start("a")
		after(10 * time.Second)
		if h := w.holders(c); len(h) != 2 {
			t.Errorf("held by %v", h)
		}
		pins, err := edges[1].Lookup(t.Context(), c.String())
		if err != nil || len(pins) != 1 || pins[0].Owner != record.Operator {
			t.Errorf("pins %v, %v", pins, err)
		}
		if err := named(edges, "a").Drop(t.Context(), c); err != nil {
			t.Error(err)
		}
		after(time.Second)
		if h := w.holders(c); len(h) != 0 {
			t.Errorf("dropped, but held by %v", h)
		}
	})
}

// A fleet that is cut in two goes on in both parts and finds back.
func TestASplitFleet(t *testing.T) {
	fleet(t, 4, func(t *testing.T, w *world, edges []*edge) {
		var roots []cid.Cid
		for i := range 10 {
			roots = append(roots, w.root(fmt.Sprint(i)))
			edges[0].mustAdd(roots[i], 2)
		}
		after(5 * time.Second)
		side := func(s string) bool { return s < "c" }
		w.mu.Lock()
		w.drop = func(from, to string) bool { return side(from) != side(to) }
		w.mu.Unlock()
		after(10 * time.Minute)
		for _, c := range roots {
			if h := w.holders(c); len(h) < 4 {
				t.Errorf("cut in two: held by %v", h)
			}
		}
		w.mu.Lock()
		w.drop = nil
		w.mu.Unlock()
		after(10 * time.Second)
		for _, c := range roots {
			if h := w.holders(c); len(h) != 2 {
				t.Errorf("whole again: held by %v", h)
			}
		}
	})
}

// A report that does not add up is asked for again.
func TestReportsHeal(t *testing.T) {
	fleet(t, 2, func(t *testing.T, w *world, edges []*edge) {
		c := w.root("site")
		v := edges[0].mustAdd(c, 2)
		after(5 * time.Second)
		a := edges[0].Pins
		a.mu.Lock()
		s := a.others["b"]
		entry := s.entries[c]
		delete(s.entries, c) // as if a message had been lost
		s.digest ^= entry
		a.edit(c, func(r *root) { r.setReport("b", record.Report{}) })
		a.mu.Unlock()
		if got := edges[0].mustBe(v.ID, record.Pinned).Info["edges"]; got != "a" {
			t.Errorf("held by %s", got)
		}
		after(time.Minute)
		if got := edges[0].mustBe(v.ID, record.Pinned).Info["edges"]; got != "a, b" {
			t.Errorf("after a minute: held by %s", got)
		}
	})
}

func TestVerifyOnEveryEdge(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		v := edges[0].mustAdd(w.root("site"), 3)
		after(5 * time.Second)
		seen := map[string]bool{}
		found, err := edges[0].Verify(t.Context(), v.ID, func(done record.EdgeProgress) { seen[done.Edge] = true })
		if err != nil || len(found) != 3 || len(seen) != 3 {
			t.Fatalf("found %+v, progress of %v, %v", found, seen, err)
		}
		for _, f := range found {
			if f.Error != "" || f.Blocks != 2 {
				t.Errorf("%+v", f)
			}
		}
		if _, err := edges[0].Verify(t.Context(), "nothing", nil); !errors.Is(err, record.ErrNotFound) {
			t.Errorf("unknown pin: %v", err)
		}
	})
}

// What a site of any edge shows is held by the fleet.
func TestSites(t *testing.T) {
	fleet(t, 3, func(t *testing.T, w *world, edges []*edge) {
		old, next := w.root("old"), w.root("next")
		edges[0].SetSites([]cid.Cid{old})
		after(5 * time.Second)
		if h := w.holders(old); len(h) != 2 || !edges[1].Pinned(old) {
			t.Errorf("held by %v", h)
		}
		edges[0].SetSites([]cid.Cid{old, next})
		after(5 * time.Second)
		edges[0].SetSites([]cid.Cid{next})
		edges[1].SetSites([]cid.Cid{old})
		after(5 * time.Second)
		if a, b := w.holders(old), w.holders(next); len(a) != 2 || len(b) != 2 {
			t.Errorf("the old release is held by %v, the new one by %v", a, b)
		}
		edges[1].SetSites(nil)
		after(5 * time.Second)
		if h := w.holders(old); len(h) != 0 || edges[2].Pinned(old) {
			t.Errorf("no site shows it, but it is held by %v", h)
		}
	})
}

func TestListFiltersByStatusAndCounts(t *testing.T) {
	fleet(t, 1, func(t *testing.T, w *world, edges []*edge) {
		e := edges[0]
		for i := range 10 {
			e.mustAdd(w.root(fmt.Sprint(i)), 1)
		}
		after(3 * time.Second)
		missing := w.root("missing")
		delete(w.origin, missing)
		e.mustAdd(missing, 1)
		after(time.Second)
		for status, want := range map[record.Status]int{record.Pinned: 10, record.Pinning: 1, record.Failed: 0} {
			page, err := e.List(t.Context(), "owner", record.Query{Statuses: []record.Status{status}, Limit: 3})
			if err != nil || page.Count != want || len(page.Pins) != min(want, 3) {
				t.Errorf("%s: %d of %d, %v", status, len(page.Pins), page.Count, err)
			}
		}
		page, _ := e.List(t.Context(), "another", record.Query{})
		if page.Count != 0 {
			t.Errorf("another owner sees %d", page.Count)
		}
		all, err := e.List(context.Background(), "", record.Query{})
		if err != nil || all.Count != 11 {
			t.Errorf("the operator sees %d, %v", all.Count, err)
		}
		last := time.Time{}
		for _, v := range slices.Backward(all.Pins) {
			if !v.Created.After(last) || v.Created != v.Created.Truncate(time.Millisecond) {
				t.Errorf("created %s after %s", v.Created, last)
			}
			last = v.Created
		}
	})
}

// An edge with many roots tells a sibling that comes later all of them, in messages that
// a call can carry, and goes on with what changes.
func TestManyRootsAreReported(t *testing.T) {
	const roots = 20_000
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.close()
		a := w.start("a")
		for i := range roots {
			c := w.root(fmt.Sprint(i))
			a.own.set(c, record.Report{Share: record.Share{Status: record.Pinned, Blocks: int64(i), Reason: strings.Repeat("\x01", 200)}})
		}
		b := w.start("b")
		known := func() int {
			b.mu.RLock()
			defer b.mu.RUnlock()
			if s := b.others["a"]; s != nil {
				return len(s.entries)
			}
			return 0
		}
		after(2 * time.Second)
		if n := known(); n != roots {
			t.Errorf("%d of %d roots are known", n, roots)
		}
		for i := range maxGone + 10 {
			a.own.set(w.root(fmt.Sprint(i)), record.Report{})
		}
		after(2 * time.Second)
		if n := known(); n != roots-maxGone-10 {
			t.Errorf("%d roots are known, expected %d", n, roots-maxGone-10)
		}
	})
}

// Nonsense from a sibling is refused and changes nothing.
func TestBadReports(t *testing.T) {
	fleet(t, 2, func(t *testing.T, w *world, edges []*edge) {
		for _, body := range []string{
			`{`, `{"epoch":-1}`, `{"epoch":1,"entries":[{"root":"nonsense","status":"pinned"}]}`,
			`{"epoch":1,"entries":[{"root":"` + w.root("x").String() + `","status":"perfect"}]}`,
			`{"epoch":1,"sites":["nonsense"]}`,
		} {
			if _, err := edges[0].hear(t.Context(), "b", []byte(body)); err == nil {
				t.Errorf("%s: accepted", body)
			}
		}
		if _, err := edges[0].verifier.answer(t.Context(), "b", []byte(`"nonsense"`)); err == nil {
			t.Error("a verification of nonsense was accepted")
		}
		v := edges[0].mustAdd(w.root("site"), 2)
		after(5 * time.Second)
		edges[1].mustBe(v.ID, record.Pinned)
	})
}
