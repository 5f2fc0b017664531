package swarm

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	stock "github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/sony/gobreaker/v2"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// fleetWith starts one edge for each origin, which may be nil, and waits until all see
// all. Their blocks are at home everywhere if there are three of them.
func fleetWith(t *testing.T, origins ...block.Getter) []*edge {
	t.Helper()
	var all []*edge
	for i, origin := range origins {
		opts := testOptions(fmt.Sprintf("edge-%d", i))
		calm(&opts)
		if i > 0 {
			opts.Peers = []string{all[0].as()}
		}
		e := newEdge(t, opts, Config{})
		e.Start(origin)
		all = append(all, e)
	}
	settle(t, all...)
	return all
}

func hanging() *source {
	s := newSource()
	s.gate = make(chan struct{}) // never closed
	return s
}

func refusing() *source {
	s := newSource()
	s.down = errors.New("connection refused")
	return s
}

// One edge of three has no working origin, and nobody notices: neither its visitors nor
// those of the others, whatever is at home there.
func TestOneSickOriginIsRoutedAround(t *testing.T) {
	for name, sick := range map[string]block.Getter{
		"refuses": refusing(), "denies": newSource(), "hangs": hanging(), "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			good := newSource()
			all := fleetWith(t, good, good, sick)
			v := all[0].view.Load()
			var want []*block.Verified
			for range 10 {
				for _, home := range []string{"edge-0", "edge-1", "edge-2"} {
					b := homedAt(t, v, home)
					good.put(b)
					want = append(want, b)
				}
			}
			if errs := crowd(t, all, want, 4); len(errs) > 0 {
				t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
			}
		})
	}
}

// While the others have nothing to hide, the origin that denies a block is asked once
// by each of its homes, and then not for as long as failures are remembered.
func TestDenialCostsOneRequestPerHome(t *testing.T) {
	origin := newSource()
	all := fleetWith(t, origin, origin, origin, origin)
	b := homedAt(t, all[0].view.Load(), "edge-0", "edge-1", "edge-2", "edge-3")
	for _, e := range all {
		if _, _, err := e.get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
			t.Errorf("%s: %v", e.name, err)
		}
	}
	if n := origin.count(); n > homes {
		t.Errorf("the origin was asked %d times", n)
	}
}

// The origin accepts and never answers. What a sibling has is served all the same, and
// the homes that are asked to fetch ask nobody in a circle.
func TestHangingOriginDoesNotHideWhatASiblingHas(t *testing.T) {
	origin := hanging()
	all := fleetWith(t, origin, origin, origin)
	b := homedAt(t, all[0].view.Load(), "edge-0", "edge-1", "edge-2")
	all[2].disk.put(b)
	for _, e := range all[:2] {
		if src := mustGet(t, e, b); src != block.Sibling && src != block.Disk {
			t.Errorf("%s: got it from %s", e.name, src)
		}
	}
	if n := origin.count(); n == 0 {
		t.Error("the origin was not asked at all")
	}
}

// After some failures the siblings go first; when the origin is well again, one request
// in each second finds out.
func TestSickOriginGoesSecondUntilItDelivers(t *testing.T) {
	sick, good := refusing(), newSource()
	all := fleetWith(t, sick, good)
	v := all[0].view.Load()
	next := func() *block.Verified {
		b := homedAt(t, v, "edge-0")
		good.put(b)
		sick.put(b)
		return b
	}
	if trouble := all[0].OriginTrouble(); trouble != "" {
		t.Errorf("before anything went wrong: %s", trouble)
	}
	for range sickAfter {
		mustGet(t, all[0], next())
	}
	if all[0].OriginTrouble() == "" {
		t.Error("nobody is told")
	}
	asked := sick.count()
	for range 20 {
		mustGet(t, all[0], next())
	}
	if n := sick.count() - asked; n > 10 {
		t.Errorf("the sick origin was asked for %d of 20 blocks", n)
	}
	sick.set(func(s *source) { s.down = nil })
	eventually(t, "it is found to be well", func() bool {
		mustGet(t, all[0], next())
		return all[0].OriginTrouble() == ""
	})
}

func TestHealthOfAnOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &health{}
		if p := h.patience(); p != originSilence {
			t.Errorf("patience %s with an unknown origin", p)
		}
		for range 50 {
			h.came(time.Second)
		}
		if p := h.patience(); p < time.Second || p > maxOriginSilence {
			t.Errorf("patience %s with an origin that takes a second", p)
		}
		for range sickAfter - 1 {
			h.trouble()
		}
		if sick, _ := h.sick(); sick {
			t.Error("sick too early")
		}
		h.trouble()
		if sick, probe := h.sick(); !sick || !probe {
			t.Errorf("sick %v, to be tried %v", sick, probe)
		}
		if _, probe := h.sick(); probe {
			t.Error("tried twice at once")
		}
		time.Sleep(probeEvery)
		if _, probe := h.sick(); !probe {
			t.Error("not tried again")
		}
		h.came(time.Millisecond)
		if sick, _ := h.sick(); sick {
			t.Error("sick although a block came")
		}
	})
}

// hung is a sibling that answers pings and calls, and does nothing about wants; or says
// that it has everything and sends nothing.
func hung(t *testing.T, name string, friend *edge, claims bool) (e *edge, asked *atomic.Int32) {
	asked = &atomic.Int32{}
	return rogue(t, name, friend, func(h host.Host, from peer.ID, m stock.BitSwapMessage) {
		for _, w := range m.Wantlist() {
			if w.Cancel {
				continue
			}
			if w.WantType == pb.Message_Wantlist_Block {
				asked.Add(1)
			} else if claims {
				yes := stock.New(false)
				yes.AddHave(w.Cid)
				go send(t, h, from, yes)
			}
		}
	}), asked
}

func TestSiblingThatDoesNotDeliverIsAskedLast(t *testing.T) {
	for _, claims := range []bool{false, true} {
		t.Run(fmt.Sprintf("says HAVE %v", claims), func(t *testing.T) {
			origin := newSource()
			all := fleet(t, 3, origin)
			sick, asked := hung(t, "hung", all[0], claims)
			eventually(t, "it is in the ring", func() bool { return all[0].view.Load().ring.Len() == 4 })
			v := all[0].view.Load()
			next := func() *block.Verified {
				b := homedAt(t, v, "hung")
				origin.put(b)
				return b
			}
			eventually(t, "it is asked last", func() bool {
				mustGet(t, all[0], next())
				return !all[0].delivers(sick.ID())
			})
			if s := stateOf(all[0], "hung"); s != members.Alive {
				t.Errorf("it is %s", s)
			}
			before := asked.Load()
			for range 20 {
				mustGet(t, all[0], next())
			}
			// The other two may have to find out, too; and it is asked to see whether it is back.
			if n := asked.Load() - before; n > 10 {
				t.Errorf("it was asked for %d of 20 blocks", n)
			}
		})
	}
}

// All three homes of a block do not deliver: this edge fetches it.
func TestThreeSickSiblingsDoNotStopAFile(t *testing.T) {
	origin := newSource()
	all := fleet(t, 3, origin)
	for i := range 3 {
		hung(t, fmt.Sprintf("hung-%d", i), all[0], false)
	}
	eventually(t, "they are in the ring", func() bool { return all[0].view.Load().ring.Len() == 6 })
	want := makeBlocks(t, 40, 2000)
	b := homedAt(t, all[0].view.Load(), "hung-0", "hung-1", "hung-2")
	want = append(want, b)
	for _, b := range want {
		origin.put(b)
	}
	if errs := crowd(t, all[:1], want, 8); len(errs) > 0 {
		t.Fatalf("%d requests failed, first: %v", len(errs), errs[0])
	}
}

// A home that waits for a slow origin works, and says so: that is no failure.
func TestHomeThatWaitsForItsOriginIsNotBlamed(t *testing.T) {
	origin := newSource()
	origin.gate = make(chan struct{})
	all := fleetWith(t, origin, origin)
	b := homedAt(t, all[0].view.Load(), "edge-1")
	origin.put(b)
	done := make(chan error)
	go func() {
		_, _, err := all[0].get(t.Context(), b.Cid())
		done <- err
	}()
	eventually(t, "it waits", func() bool { return origin.count() > 0 })
	verdict := make(chan bool, 1)
	all[0].inquire(t.Context(), all[1].ID(), b.Cid(), time.Now(), func(working bool) { verdict <- working })
	if !<-verdict {
		t.Error("it does not work")
	}
	close(origin.gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !all[0].delivers(all[1].ID()) {
		t.Error("it is blamed")
	}
	var r reason
	if err := all[0].Call(t.Context(), "edge-1", "why", makeBlock(t, 10).Cid().String(), &r); err != nil || r.Working == nil || *r.Working {
		t.Errorf("about a block it knows nothing of it says %+v, %v", r, err)
	}
}

// The breaker of a sibling opens after three unanswered wants of a tenth, or one lie,
// and one good answer closes it when it has rested.
func TestBreakerOfASibling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.Name = "edge-0"
		s := &Swarm{opts: o, siblings: map[peer.ID]*sibling{}}
		state := func(b *sibling) gobreaker.State { return b.breaker.State() }
		for what, steps := range map[string]struct {
			good, bad int
			lie       bool
			want      gobreaker.State
		}{
			"two":            {bad: 2, want: gobreaker.StateClosed},
			"three":          {bad: 3, want: gobreaker.StateOpen},
			"three of fifty": {good: 47, bad: 3, want: gobreaker.StateClosed},
			"now and then":   {good: 25, bad: 3, want: gobreaker.StateOpen},
			"one lie":        {good: 100, lie: true, want: gobreaker.StateOpen},
		} {
			id := peer.ID(what)
			s.siblings[id] = newSibling(func(bool) {}, func() {})
			for range steps.good {
				s.judge(id, true)
			}
			for range steps.bad {
				s.judge(id, false)
			}
			if steps.lie {
				s.liar(id)
			}
			if got := state(s.siblings[id]); got != steps.want {
				t.Errorf("%s: %s", what, got)
			}
		}
		time.Sleep(restFor + time.Second)
		b := s.siblings["one lie"]
		if state(b) != gobreaker.StateHalfOpen {
			t.Errorf("after a rest: %s", state(b))
		}
		if s.judge("one lie", true); state(b) != gobreaker.StateClosed {
			t.Errorf("after a good answer: %s", state(b))
		}
		if s.judge("one lie", false); state(b) != gobreaker.StateClosed {
			t.Errorf("the old lie counts twice: %s", state(b))
		}
	})
}

// More siblings than are asked at once: the last by name has it.
func TestEverybodyIsAsked(t *testing.T) {
	all := fleet(t, 2, nil)
	b := makeBlock(t, 100)
	all[1].disk.put(b)
	var ids []peer.ID
	for i := range 3 * maxAsked {
		ids = append(ids, peer.ID(fmt.Sprintf("nobody-%d", i)))
	}
	ids = append(ids, all[1].ID())
	got, silent := all[0].askAround(t.Context(), b.Cid(), ids, func(peer.ID) bool { return false })
	if got == nil {
		t.Fatalf("not found; %d silent", len(silent))
	}
	_, silent = all[0].askAround(t.Context(), makeBlock(t, 100).Cid(), ids, func(peer.ID) bool { return false })
	if len(silent) != 3*maxAsked {
		t.Errorf("%d silent", len(silent))
	}
}

// A sibling that says HAVE and does not send is overtaken by one that does.
func TestSenderThatDoesNotSendIsOvertaken(t *testing.T) {
	all := fleet(t, 2, nil)
	sick, asked := hung(t, "hung", all[0], true)
	eventually(t, "it is in the ring", func() bool { return all[0].view.Load().ring.Len() == 3 })
	for range 5 {
		b := makeBlock(t, 100)
		all[1].disk.put(b)
		if got, _ := all[0].askAround(t.Context(), b.Cid(), []peer.ID{sick.ID(), all[1].ID()}, all[0].fleet.Absent); got == nil {
			t.Fatal("not found")
		}
	}
	t.Logf("the other was asked for %d", asked.Load())
}

func TestWhoIsMissingIsNamed(t *testing.T) {
	net := newCable()
	origin := newSource()
	all := fleetOn(t, net, 3, origin)
	b := homedAt(t, all[0].view.Load(), "edge-0", "edge-1")
	net.freeze("edge-2")
	var unavailable *block.UnavailableError
	for _, e := range all[:2] {
		_, _, err := e.get(t.Context(), b.Cid())
		if !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "edge-2") {
			t.Errorf("%s: got %v", e.name, err)
		}
	}
	net.hold(nil)
}

// An edge that has stopped cleanly is not missed: what nobody has is not found.
func TestWhoHasLeftIsNotMissed(t *testing.T) {
	origin := newSource()
	all := fleet(t, 3, origin)
	all[2].Drain(t.Context())
	all[2].Close()
	for _, e := range all[:2] {
		eventually(t, "it has left", func() bool { return stateOf(e, "edge-2") == members.Left })
	}
	for _, e := range all[:2] {
		b := homedAt(t, e.view.Load(), e.name)
		if _, _, err := e.get(t.Context(), b.Cid()); !ipld.IsNotFound(err) {
			t.Errorf("%s: got %v", e.name, err)
		}
	}
}

// Edges that disagree about who is first, with an origin that hangs: each asks others
// and is asked, and nobody waits for somebody who waits for it.
func TestNobodyWaitsInACircle(t *testing.T) {
	sick, good := hanging(), newSource()
	all := fleetWith(t, sick, sick, good)
	v := all[0].view.Load()
	var want []*block.Verified
	for range 10 {
		b := homedAt(t, v, "edge-0", "edge-1", "edge-2")
		good.put(b)
		want = append(want, b)
	}
	// Each begins a search of its own for each of them, at the same time.
	var searches sync.WaitGroup
	for _, e := range all {
		for _, b := range want {
			searches.Go(func() {
				if _, _, err := e.cache.Fill(t.Context(), b.Cid()); err != nil {
					t.Errorf("%s: %v", e.name, err)
				}
			})
		}
	}
	searches.Wait()
}
