//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// atOnce is how many requests a crowd sends to one edge at once.
const atOnce = 8

// rig is what a test of a fleet is made of.
type rig struct {
	*lab.Fleet
	t      *testing.T
	site   *lab.Site
	origin *lab.Origin
}

// newRig makes an origin with a site, and a fleet of n edges in front of it that all
// see each other.
func newRig(t *testing.T, n int, set ...string) *rig {
	t.Helper()
	site, err := lab.NewSite(7, 120, 3<<20)
	if err != nil {
		t.Fatal(err)
	}
	origin, err := lab.NewOrigin("", site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(origin.Close)
	fleet, err := lab.NewFleet(inTime(t), binary, t.TempDir(), origin.URL(), append([]string{"cache.memory=64MiB", "cache.disk=128MiB"}, set...)...)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{fleet, t, site, origin}
	t.Cleanup(r.close)
	if err := fleet.Start(inTime(t), n); err != nil {
		t.Fatal(err)
	}
	return r
}

// close kills all edges, and shows their logs if the test failed.
func (r *rig) close() {
	r.Close()
	if r.t.Failed() {
		for _, e := range r.Edges {
			r.t.Logf("log of edge %s:\n%s", e.Name, e.Log)
		}
	}
}

// settled waits until each of the edges sees all of them alive, and nobody else.
func (r *rig) settled(edges ...*lab.Edge) {
	r.t.Helper()
	if err := r.Settled(inTime(r.t), edges...); err != nil {
		r.t.Fatal(err)
	}
}

// others returns all edges but one.
func (r *rig) others(one *lab.Edge) []*lab.Edge {
	return slices.DeleteFunc(slices.Clone(r.Edges), func(e *lab.Edge) bool { return e == one })
}

// crowd sends a crowd for the whole site to the edges, all at once, and has done
// with it when every request was answered as it should be.
func (r *rig) crowd(edges ...*lab.Edge) {
	r.t.Helper()
	for i, tally := range lab.CrowdAll(inTime(r.t), edges, r.site, atOnce) {
		r.noneFailed(edges[i].Name, tally)
	}
}

func (r *rig) noneFailed(whose string, tally *lab.Tally) {
	r.t.Helper()
	if n, err := tally.Failed(); n > 0 {
		r.t.Errorf("%s: %d of %d requests failed: %v", whose, n, tally.Requests(), err)
	}
}

// askedAtMost checks how often the origin was asked for each block.
func (r *rig) askedAtMost(ratio float64) {
	r.t.Helper()
	total, unique := r.origin.Fetches()
	if unique != len(r.site.Blocks) {
		r.t.Errorf("the origin was asked for %d different blocks, the site has %d", unique, len(r.site.Blocks))
	}
	if r.origin.Ratio() > ratio {
		r.t.Errorf("the origin was asked %d times for %d blocks: %.3f times each, expected at most %.2f", total, unique, r.origin.Ratio(), ratio)
	}
}

// inBackground runs f and returns how to wait for its end.
func inBackground(f func()) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return func() { <-done }
}

// halfway returns when the origin was asked for half of the site.
func (r *rig) halfway() {
	r.t.Helper()
	if err := r.origin.Wait(inTime(r.t), len(r.site.Blocks)/2); err != nil {
		r.t.Fatal(err)
	}
}

// A crowd at every edge at once, nothing cached anywhere: each block is fetched from
// the origin once.
func TestColdCrowd(t *testing.T) {
	for _, n := range []int{2, 4} {
		t.Run(fmt.Sprintf("%d edges", n), func(t *testing.T) {
			r := newRig(t, n)
			r.crowd(r.Edges...)
			r.askedAtMost(1.02)
			if err := r.Stop(inTime(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

// Edges that are asked one after the other fill each other.
func TestOneEdgeAfterTheOther(t *testing.T) {
	r := newRig(t, 4)
	for _, e := range r.Edges {
		r.crowd(e)
	}
	r.askedAtMost(1)
}

// With the origin gone, every edge serves all that any edge holds, also when one
// edge is restarted and so has only its disk.
func TestServesWhatAnyEdgeHolds(t *testing.T) {
	r := newRig(t, 4)
	r.crowd(r.Edges[0]) // whose blocks are now on the disks of all
	r.origin.Off()
	for _, e := range r.Edges[1:] {
		r.crowd(e)
	}
	if code, err := r.Edges[0].Stop(inTime(t)); code != 0 || err != nil {
		t.Fatalf("SIGTERM: exit code %d, %v", code, err)
	}
	if _, err := r.Restart(inTime(t), 0); err != nil {
		t.Fatal(err)
	}
	r.settled(r.Edges...)
	r.crowd(r.Edges[0])
}

// An import on one edge is served by all, though no origin has it; and it is still
// served by one that joins later.
func TestAnImportIsServedByAll(t *testing.T) {
	r := newRig(t, 3)
	dir, files := website(t)
	importer := &edge{r.Edges[2], t}
	root := importer.add(dir)
	for _, e := range r.Edges {
		(&edge{e, t}).mustServe("127.0.0.1", "/ipfs/"+root, files)
	}
	late, err := r.Add(inTime(t), "late")
	if err != nil {
		t.Fatal(err)
	}
	(&edge{late, t}).mustServe("127.0.0.1", "/ipfs/"+root, files)
}

// An edge that joins is home to its share at once, gets what it lacks of it from its
// siblings, and asks the origin for what is new.
func TestOneEdgeJoins(t *testing.T) {
	r := newRig(t, 3)
	r.crowd(r.Edges...)
	r.askedAtMost(1)
	late, err := r.Add(inTime(t), "edge-3")
	if err != nil {
		t.Fatal(err)
	}
	r.settled(r.Edges...)
	r.crowd(late)
	r.askedAtMost(1)
	if list := sources(t, late); list["origin"].Blocks > 0 || list["sibling"].Blocks == 0 {
		t.Errorf("the edge that joined got its blocks from %+v, expected siblings only", list)
	}

	more := lab.NewShelf(8, 100, 4<<10)
	origin, err := lab.NewOrigin("", more)
	if err != nil {
		t.Fatal(err)
	}
	defer origin.Close()
	// The same fleet, but every edge restarted in front of an origin with more.
	for i, e := range r.Edges {
		if code, err := e.Stop(inTime(t)); code != 0 || err != nil {
			t.Fatalf("SIGTERM: exit code %d, %v", code, err)
		}
		r.Set = append(slices.Clone(r.Set), lab.OriginSetting(origin.URL()))
		if _, err := r.Restart(inTime(t), i); err != nil {
			t.Fatal(err)
		}
	}
	r.settled(r.Edges...)
	for i, tally := range lab.CrowdAll(inTime(t), r.Edges, more, atOnce) {
		r.noneFailed(r.Edges[i].Name, tally)
	}
	if total, unique := origin.Fetches(); total != len(more.Blocks) || unique != total {
		t.Errorf("the origin was asked %d times for %d of %d blocks", total, unique, len(more.Blocks))
	}
	filled, err := r.Edges[3].Metric(inTime(t), "shoal_swarm_fills_total", "outcome", "origin")
	if err != nil || filled < 10 || filled > 45 {
		t.Errorf("the edge that joined asked the origin for %v of 100 blocks, expected its quarter: %v", filled, err)
	}
}

// sources returns where an edge found the blocks that it served.
func sources(t *testing.T, e *lab.Edge) map[string]traffic {
	t.Helper()
	s, err := e.Stats(inTime(t))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]traffic{}
	for source, n := range s.Blocks {
		found[source] = traffic{n.Blocks, n.Bytes}
	}
	return found
}

type traffic struct{ Blocks, Bytes int64 }

// An origin that sends wrong bytes is never believed; when it mends its ways, the
// site is served.
func TestAnOriginThatLies(t *testing.T) {
	r := newRig(t, 2)
	r.origin.Lie(true)
	paths := r.site.Paths()
	for _, e := range r.Edges {
		a, err := e.Get(inTime(t), "", "/ipfs/"+paths[0])
		if err != nil || a.Status != 502 {
			t.Errorf("edge %s: status %d, %v; expected 502", e.Name, a.Status, err)
		}
	}
	r.origin.Lie(false)
	ctx := inTime(t)
	for _, e := range r.Edges {
		var err error
		if waited := until(ctx, func() bool { _, err = e.Fetch(ctx, r.site, paths[0]); return err == nil }); waited != nil {
			t.Fatalf("the origin is honest again, but: %v", err)
		}
	}
	r.crowd(r.Edges...)
}

// until waits for a condition.
func until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
