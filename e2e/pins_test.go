//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/e2e/lab"
	"github.com/shoal-cdn/shoal/pin/record"
)

// shelves makes an origin with several sites, and a fleet of n edges in front of it.
func shelves(t *testing.T, sites, n int, set ...string) (*rig, []cid.Cid) {
	t.Helper()
	all := &lab.Site{Files: map[string][]byte{}, Blocks: map[string][]byte{}}
	var roots []cid.Cid
	for i := range sites {
		s, err := lab.NewSite(uint64(100+i), 12, 700_000)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, s.Root)
		maps.Copy(all.Files, s.Files)
		maps.Copy(all.Blocks, s.Blocks)
	}
	origin, err := lab.NewOrigin("", all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(origin.Close)
	fleet, err := lab.NewFleet(inTime(t), binary, t.TempDir(), origin.URL(), append([]string{"cache.memory=16MiB", "cache.disk=256MiB"}, set...)...)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{fleet, t, all, origin}
	t.Cleanup(r.close)
	if err := fleet.Start(inTime(t), n); err != nil {
		t.Fatal(err)
	}
	return r, roots
}

// holders returns the edges that are there and hold a pin whole, as an edge sees it.
func holders(p admin.Pin) (names []string) {
	for _, e := range p.Edges {
		if e.Present && e.Status == "pinned" {
			names = append(names, e.Edge)
		}
	}
	slices.Sort(names)
	return names
}

// heldBy waits until the pin of a root is held by edges that want accepts.
func (r *rig) heldBy(e *lab.Edge, root cid.Cid, what string, want func([]string) bool) {
	r.t.Helper()
	var last []admin.Pin
	var err error
	if waited := until(inTime(r.t), func() bool {
		last, err = e.Client().PinStatus(inTime(r.t), root.String())
		return err == nil && len(last) == 1 && want(holders(last[0]))
	}); waited != nil {
		r.t.Fatalf("edge %s: %s: not %s: %+v, %v", e.Name, root, what, last, err)
	}
}

// verified has every holder of a pin read it.
func (r *rig) verified(e *lab.Edge, root cid.Cid) {
	r.t.Helper()
	found, err := e.Client().VerifyPin(inTime(r.t), root.String(), nil)
	if err != nil || len(found) == 0 {
		r.t.Errorf("verify %s: %+v, %v", root, found, err)
	}
	for _, f := range found {
		if f.Error != "" || f.Repaired > 0 || f.Missing > 0 {
			r.t.Errorf("verify %s: %+v", root, f)
		}
	}
}

// Three edges hold each pin twice. One is destroyed with its disk while the origin is
// off: every pin stays readable throughout, and is back to two replicas by itself. When
// a new edge takes the lost one's name, everything returns to where it belongs.
func TestAnEdgeIsDestroyedWithItsDisk(t *testing.T) {
	r, roots := shelves(t, 8, 3, "pin.grace=2s")
	for i, root := range roots {
		if out, err := r.Edges[i%3].Command(inTime(t), "pin", "add", root.String(), "--replicas", "2", "--name", fmt.Sprint("site-", i)); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	first := map[cid.Cid][]string{}
	for _, root := range roots {
		r.heldBy(r.Edges[0], root, "on two edges", func(names []string) bool { first[root] = names; return len(names) == 2 })
	}
	r.origin.Off()
	victim := r.Edges[1]
	others := r.others(victim)

	// Visitors come all the time.
	ctx, stop := context.WithCancel(t.Context())
	wait := inBackground(func() {
		for ctx.Err() == nil {
			for i, one := range lab.CrowdAll(inTime(t), others, r.site, 2) {
				r.noneFailed(others[i].Name, one)
			}
		}
	})
	victim.Kill()
	if err := os.RemoveAll(victim.Dir); err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		r.heldBy(others[0], root, "on the two that are left", func(names []string) bool {
			return len(names) == 2 && !slices.Contains(names, victim.Name)
		})
	}
	stop()
	wait()
	for _, root := range roots {
		r.verified(others[0], root)
	}
	if err := os.MkdirAll(victim.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	back, err := r.Restart(inTime(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	r.settled(r.Edges...)
	for _, root := range roots {
		r.heldBy(back, root, "where it was", func(names []string) bool { return slices.Equal(names, first[root]) })
		r.verified(back, root)
	}
	r.crowd(r.Edges...)
}

// Edges are killed at random moments while pins come and go and move. Afterwards every
// pin that is reported pinned is complete and byte-correct, and nothing else is
// protected.
func TestKilledWhilePinsComeAndGo(t *testing.T) {
	const rounds = 10
	r, roots := shelves(t, 12, 3, "pin.grace=1s")
	r.origin.Delay(2 * time.Millisecond)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range rounds {
		victim := random.IntN(3)
		var busy sync.WaitGroup
		for i, e := range r.Edges {
			seed := random.Uint64()
			busy.Go(func() { r.pinAtRandom(e, roots, seed, i) })
		}
		time.Sleep(time.Duration(random.IntN(700)) * time.Millisecond)
		r.Edges[victim].Kill()
		busy.Wait()
		if _, err := r.Restart(inTime(t), victim); err != nil {
			t.Fatal(err)
		}
	}
	r.settled(r.Edges...)
	r.origin.Delay(0)
	for _, e := range r.Edges {
		r.allPinned(e)
	}
	r.sameLists()
	r.origin.Off()
	var pins []admin.Pin
	e := r.Edges[0]
	if _, err := e.Client().Pins(inTime(t), record.Query{}, func(p admin.Pin) { pins = append(pins, p) }); err != nil {
		t.Fatal(err)
	}
	pinned := map[string]bool{}
	for _, p := range pins {
		pinned[p.CID] = true
	}
	for text := range pinned {
		c, err := cid.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		r.verified(e, c)
	}
	read := 0
	for _, path := range r.site.Paths() {
		if root, _, _ := strings.Cut(path, "/"); !pinned[root] {
			continue
		}
		for _, e := range r.Edges {
			if _, err := e.Fetch(inTime(t), r.site, path); err != nil {
				t.Errorf("edge %s: %v", e.Name, err)
			}
			read++
		}
	}
	t.Logf("%d pins of %d roots, %d files read with the origin off", len(pins), len(pinned), read)

	for text := range pinned {
		if _, err := e.Client().RemovePin(inTime(t), text); err != nil {
			t.Errorf("unpin: %v", err)
		}
	}
	for _, e := range r.Edges {
		if err := until(inTime(t), func() bool {
			s, err := e.Stats(inTime(t))
			return err == nil && s.Store.PinnedBlocks == 0
		}); err != nil {
			s, _ := e.Stats(inTime(t))
			t.Errorf("edge %s: nothing is pinned, but %d blocks are protected", e.Name, s.Store.PinnedBlocks)
		}
	}
}

// pinAtRandom pins and unpins until the edge is killed or a few things are done. That
// calls fail is expected.
func (r *rig) pinAtRandom(e *lab.Edge, roots []cid.Cid, seed uint64, which int) {
	random := rand.New(rand.NewPCG(seed, uint64(which)))
	ctx := inTime(r.t)
	var mine []string
	for range 6 {
		root := roots[random.IntN(len(roots))].String()
		switch random.IntN(4) {
		case 0:
			if len(mine) > 0 {
				_, _ = e.Client().RemovePin(ctx, mine[len(mine)-1])
			}
		case 1:
			_, _ = e.Client().RemovePin(ctx, root)
		default:
			if p, err := e.Client().AddPin(ctx, root, admin.PinParams{Replicas: 1 + random.IntN(3)}, nil); err == nil {
				mine = append(mine, p.ID)
			}
		}
		time.Sleep(time.Duration(random.IntN(120)) * time.Millisecond)
	}
}

// allPinned waits until every pin is pinned.
func (r *rig) allPinned(e *lab.Edge) {
	r.t.Helper()
	var s admin.Stats
	if err := until(inTime(r.t), func() bool {
		s, _ = e.Stats(inTime(r.t))
		return s.Pins != nil && s.Pins["queued"]+s.Pins["pinning"]+s.Pins["failed"] == 0
	}); err != nil {
		r.t.Fatalf("edge %s: %v", e.Name, s.Pins)
	}
}

// sameLists waits until the list of pins is the same on every edge.
func (r *rig) sameLists() {
	r.t.Helper()
	list := func(e *lab.Edge) string {
		var ids []string
		_, _ = e.Client().Pins(inTime(r.t), record.Query{}, func(p admin.Pin) { ids = append(ids, p.ID) })
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
	if err := until(inTime(r.t), func() bool {
		first := list(r.Edges[0])
		return !slices.ContainsFunc(r.Edges[1:], func(e *lab.Edge) bool { return list(e) != first })
	}); err != nil {
		r.t.Fatal("the lists of pins do not become the same")
	}
}

// What is imported at one edge is pinned by the fleet: it stays when that edge is gone
// with its disk.
func TestAnImportOutlivesItsEdge(t *testing.T) {
	r, _ := shelves(t, 1, 3, "pin.grace=1s")
	dir, files := website(t)
	out, err := r.Edges[2].Command(inTime(t), "add", "--quiet", "--name", "home", dir)
	if err != nil {
		t.Fatal(err)
	}
	root, err := cid.Decode(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	r.heldBy(r.Edges[0], root, "on two edges", func(names []string) bool { return len(names) == 2 })
	r.Edges[2].Kill()
	if err := os.RemoveAll(filepath.Join(r.Edges[2].Dir, "data")); err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Edges[:2] {
		site := &edge{e, t}
		site.mustServe("127.0.0.1", "/ipfs/"+root.String(), files)
	}
	r.heldBy(r.Edges[0], root, "on the two that are left", func(names []string) bool {
		return slices.Equal(names, []string{"edge-0", "edge-1"})
	})
	if out, err := r.Edges[1].Command(inTime(t), "pin", "ls", "--name", "home"); err != nil || !strings.Contains(out, root.String()) {
		t.Errorf("pin ls: %s, %v", out, err)
	}
}
