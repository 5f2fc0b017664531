//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// slowly has the origin take its time, so that a crowd has much on its way whenever
// something happens.
const slowly = 10 * time.Millisecond

// An edge is killed half way through the cold crowd. Nobody at the other edges
// notices, and the origin hardly does.
func TestKillOneEdge(t *testing.T) {
	r := newRig(t, 4)
	r.origin.Delay(slowly)
	victim := r.Edges[1]
	wait := inBackground(func() {
		r.halfway()
		victim.Kill()
	})
	r.crowdBut(victim)
	wait()
	r.askedAtMost(1.10)
	r.settled(r.others(victim)...)
}

// crowdBut sends the crowd to all edges at once, but does not mind what becomes of
// the requests to one of them.
func (r *rig) crowdBut(victim *lab.Edge) {
	r.t.Helper()
	for i, tally := range lab.CrowdAll(inTime(r.t), r.Edges, r.site, atOnce) {
		if r.Edges[i] != victim {
			r.noneFailed(r.Edges[i].Name, tally)
		}
	}
}

// An edge freezes half way through the cold crowd. Nobody at the other edges
// notices; when it thaws, it is one of them again.
func TestFreezeOneEdge(t *testing.T) {
	r := newRig(t, 4)
	r.origin.Delay(slowly)
	victim := r.Edges[1]
	others := r.others(victim)
	frozen := make(chan struct{})
	wait := inBackground(func() {
		defer close(frozen)
		r.halfway()
		if err := victim.Freeze(); err != nil {
			t.Error(err)
		}
	})
	// Visitors of the frozen edge would wait for ever, so it has none.
	r.crowd(others...)
	wait()
	<-frozen
	r.askedAtMost(1.10)
	if err := victim.Thaw(); err != nil {
		t.Fatal(err)
	}
	r.settled(r.Edges...)
	r.crowd(victim)
	r.askedAtMost(1.10)
}

// A frozen edge is lost and comes back by itself, and while it is away the others
// are a fleet of their own.
func TestFrozenForLong(t *testing.T) {
	r := newRig(t, 3)
	victim := r.Edges[0] // the one that the others know by configuration
	if err := victim.Freeze(); err != nil {
		t.Fatal(err)
	}
	others := r.others(victim)
	for _, e := range others {
		if err := until(inTime(t), func() bool {
			list, err := e.Members(inTime(t))
			return err == nil && stateOf(list, victim.Name) == "lost"
		}); err != nil {
			t.Fatalf("edge %s does not notice that %s is frozen", e.Name, victim.Name)
		}
	}
	r.crowd(others...)
	r.askedAtMost(1.02)
	if err := victim.Thaw(); err != nil {
		t.Fatal(err)
	}
	r.settled(r.Edges...)
	r.crowd(victim)
	r.askedAtMost(1.02)
}

// All edges are restarted, one after the other, under load. A load balancer sends
// requests to edges that say they are ready; not one of these fails.
func TestRollingRestart(t *testing.T) {
	r := newRig(t, 4, "gateway.shutdown_delay=2s")
	r.origin.Delay(slowly)
	b := lab.NewBalancer(r.Edges...)
	defer b.Close()
	tally := &lab.Tally{}
	stop := make(chan struct{})
	load := inBackground(func() { b.Load(r.site, 2*atOnce, tally, stop) })
	r.halfway()
	for i, e := range slices.Clone(r.Edges) {
		code, err := e.Stop(inTime(t))
		if code != 0 || err != nil {
			t.Fatalf("SIGTERM: exit code %d, %v", code, err)
		}
		back, err := r.Restart(inTime(t), i)
		if err != nil {
			t.Fatal(err)
		}
		b.Replace(e, back)
		r.settled(r.Edges...)
	}
	close(stop)
	load()
	r.noneFailed("the balancer", tally)
	r.crowd(r.Edges...)
	r.askedAtMost(1.05)
	t.Logf("%d requests meanwhile", tally.Requests())
}

// downFor is how long the origin is down: long enough that every circuit breaker and
// every memory of failures has come into play.
const downFor = time.Minute

// The origin is down, and the crowd meets a fleet that holds half of the
// site: that half is served, and the rest as soon as the origin is back.
func TestOriginDown(t *testing.T) {
	r := newRig(t, 4)
	half := &lab.Site{Root: r.site.Root, Files: map[string][]byte{}, Blocks: r.site.Blocks}
	for i, path := range r.site.Paths() {
		if i%2 == 0 {
			half.Files[path] = r.site.Files[path]
		}
	}
	for i, tally := range lab.CrowdAll(inTime(t), r.Edges[:1], half, atOnce) {
		r.noneFailed(r.Edges[i].Name, tally)
	}
	var gone []string
	for _, path := range r.site.Paths() {
		if half.Files[path] == nil {
			gone = append(gone, path)
		}
	}
	r.origin.Off()
	requests := 0
	for i, end := 0, time.Now().Add(downFor); time.Now().Before(end); i++ {
		for j, tally := range lab.CrowdAll(inTime(t), r.Edges, half, atOnce) {
			r.noneFailed(r.Edges[j].Name, tally)
			requests += tally.Requests()
		}
		// What nobody holds is an error that comes soon and is honest.
		path, e := gone[i%len(gone)], r.Edges[i%len(r.Edges)]
		a, err := e.Get(inTime(t), "", "/ipfs/"+path)
		if err != nil || a.Status != 502 && a.Status != 503 {
			t.Fatalf("%s, which nobody holds, from %s: status %d, %v", path, e.Name, a.Status, err)
		}
	}
	t.Logf("%d requests were answered while the origin was down", requests)
	if err := r.origin.On(); err != nil {
		t.Fatal(err)
	}
	// An edge remembers for some seconds that the origin failed.
	ctx := inTime(t)
	for _, e := range r.Edges {
		for _, path := range r.site.Paths() {
			var err error
			if waited := until(ctx, func() bool { _, err = e.Fetch(ctx, r.site, path); return err == nil }); waited != nil {
				t.Fatalf("the origin is back, but: %v", err)
			}
		}
	}
}
