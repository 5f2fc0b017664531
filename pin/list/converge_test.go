package list

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// soon is within what is promised for changes, a join and a heal.
const soon = 2 * time.Second

func three(t *testing.T) (*network, *List, *List, *List) {
	n := newNetwork()
	return n, n.join(t, "a", newMemory(), nil), n.join(t, "b", newMemory(), nil), n.join(t, "c", newMemory(), nil)
}

func want(t *testing.T, l *List, all ...string) {
	t.Helper()
	if have := ids(l); !slices.Equal(have, all) {
		t.Errorf("have %v, want %v", have, all)
	}
}

func TestChangesAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, c := three(t)
		n.spoil(time.Millisecond, 0)
		time.Sleep(soon)
		add(t, a, pin("1"), pin("2"))
		add(t, b, pin("3"))
		if took := n.converge(t, soon); took > 20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		remove(t, c, "1", "3")
		if took := n.converge(t, soon); took > 20*time.Millisecond {
			t.Errorf("took %v", took)
		}
		want(t, a, "2")
	})
}

func TestIdleCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _, _ := three(t)
		add(t, a, pins("p", 3000)...)
		n.converge(t, soon)
		time.Sleep(soon)
		n.traffic()
		time.Sleep(100 * time.Second)
		if calls, bytes := n.traffic(); calls > 310 || bytes > 310*300 {
			t.Errorf("%d calls with %d bytes in 100 s of three idle edges", calls, bytes)
		}
	})
}

func TestSplitAndHeal(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprint("silent=", silent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, a, b, c := three(t)
				n.setSilent(silent)
				add(t, a, pin("old"), pin("both"), pin("kept"))
				n.converge(t, soon)
				n.split("a b", "c")
				add(t, a, pin("here"))
				remove(t, b, "old")
				remove(t, a, "both")
				remove(t, c, "both")
				add(t, c, pin("there"), pin("short"))
				remove(t, c, "short")
				time.Sleep(time.Minute)
				want(t, b, "here", "kept")
				want(t, c, "kept", "old", "there")
				n.heal()
				t.Log("took", n.converge(t, soon))
				want(t, c, "here", "kept", "there")
			})
		})
	}
}

func TestThroughOneWhoSeesBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _, c := three(t)
		n.split("a", "c") // both see b
		add(t, a, pin("1"))
		t.Log("took", n.converge(t, 2*soon))
		remove(t, c, "1")
		t.Log("took", n.converge(t, 2*soon))
		want(t, a)
	})
}

func TestEmptyEdgeCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _, _ := three(t)
		all := pins("p", 5000)
		add(t, a, all...)
		remove(t, a, "p-000003", "p-004999")
		n.converge(t, 5*soon)
		n.traffic()
		d := n.join(t, "d", newMemory(), nil)
		took := n.converge(t, 5*soon)
		calls, bytes := n.traffic()
		t.Log("took", took, calls, "calls", bytes, "bytes")
		if d.Len() != len(all)-2 {
			t.Error(d.Len())
		}
		if bytes > 5000*400 {
			t.Error("pins were sent more than once")
		}
	})
}

// TestCrashWhileCatchingUp goes on with the image of the disk that a crash leaves
// behind, each time that something has come in.
func TestCrashWhileCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a := n.join(t, "a", newMemory(), nil)
		add(t, a, pins("p", 9000)...)
		remove(t, a, "p-000000", "p-003000", "p-008999")
		before := ids(a)
		n.spoil(20*time.Millisecond, 0)
		store, had, crashes := newMemory(), 0, 0
		for had < len(before) {
			b := n.join(t, "b", store, nil)
			for b.Len() == had {
				time.Sleep(time.Millisecond)
			}
			image := store.copy(t)
			had, crashes = b.Len(), crashes+1
			n.leave("b")
			store = image
		}
		n.join(t, "b", store, nil)
		n.converge(t, soon)
		want(t, a, before...)
		if crashes < 3 {
			t.Error("it was hardly interrupted:", crashes)
		}
	})
}

func TestAwayForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, store := n.join(t, "a", newMemory(), nil), newMemory()
		n.join(t, "b", store, nil)
		add(t, a, pins("p", 5000)...)
		n.converge(t, 5*soon)
		n.leave("b")
		for i := range 5000 {
			if i%7 > 0 {
				remove(t, a, fmt.Sprintf("p-%06d", i))
			}
		}
		add(t, a, pins("q", 100)...)
		time.Sleep(time.Hour)
		b := n.join(t, "b", store, nil)
		add(t, b, pin("first thing"))
		t.Log("took", n.converge(t, soon))
		if a.Len() != 715+100+1 {
			t.Errorf("%d pins", a.Len())
		}
	})
}

func TestDestroyedDiskErasesAndResurrectsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, c := three(t)
		add(t, a, pins("a", 50)...)
		add(t, b, pins("b", 50)...)
		add(t, c, pins("c", 50)...)
		n.converge(t, soon)
		remove(t, c, "a-000000", "b-000000", "c-000000")
		n.converge(t, soon)
		before := ids(a)
		n.leave("c")
		c = n.join(t, "c", newMemory(), nil)
		add(t, c, pin("after"))
		n.converge(t, soon)
		want(t, a, slices.Sorted(slices.Values(append(before, "after")))...)
		if _, ok := c.Get("a-000000"); ok {
			t.Error("what was removed is back")
		}
	})
}

func TestRestoredBackupErasesAndResurrectsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		store := newMemory()
		a, b := n.join(t, "a", newMemory(), nil), n.join(t, "b", store, nil)
		add(t, b, pin("1"), pin("2"))
		n.converge(t, soon)
		backup := store.copy(t)
		add(t, b, pin("3"), pin("4"))
		remove(t, b, "1", "3")
		n.converge(t, soon)
		n.leave("b")
		b = n.join(t, "b", backup, nil)
		add(t, b, pin("5")) // before it has heard of anything
		n.converge(t, soon)
		want(t, a, "2", "4", "5")
	})
}

func TestLossAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, c := three(t)
		n.spoil(300*time.Millisecond, 0.3)
		for i := range 200 {
			l := []*List{a, b, c}[i%3]
			add(t, l, pin(fmt.Sprint(i)))
			if all := ids(l); i%2 == 0 {
				remove(t, l, all[i%len(all)])
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Log("took", n.converge(t, 5*time.Minute))
	})
}

// TestRandomHistories lets edges be cut off, restarted, destroyed and restored from
// backups while pins come and go. Whatever all edges had agreed upon stays so.
func TestRandomHistories(t *testing.T) {
	seeds := 20
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) { randomHistory(t, uint64(seed)) })
	}
}

func randomHistory(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	n := newNetwork()
	n.spoil(100*time.Millisecond, 0.1)
	names := []string{"a", "b", "c", "d"}
	stores, backups := map[string]*memory{}, map[string]*memory{}
	for _, name := range names {
		stores[name] = newMemory()
		n.join(t, name, stores[name], nil)
	}
	live, gone, serial := map[string]bool{}, map[string]bool{}, 0
	for range 4 {
		exact := true // no disk is lost in this phase
		added, removed := map[string]bool{}, map[string]bool{}
		for range 60 {
			name := names[r.IntN(len(names))]
			l := n.all()[name]
			switch k := r.IntN(100); {
			case k < 50:
				serial++
				p := pin(fmt.Sprintf("%04d", serial))
				add(t, l, p)
				added[p.ID] = true
			case k < 80:
				if all := ids(l); len(all) > 0 {
					id := all[r.IntN(len(all))]
					remove(t, l, id)
					removed[id] = true
				}
			case k < 84:
				groups := []string{"", ""}
				for _, name := range names {
					groups[r.IntN(2)] += " " + name
				}
				n.setSilent(r.IntN(2) == 0)
				n.split(groups...)
			case k < 88:
				n.heal()
			case k < 92:
				n.leave(name)
				n.join(t, name, stores[name], nil)
			case k < 94:
				backups[name] = stores[name].copy(t)
			case k < 96:
				exact = false
				n.leave(name)
				stores[name] = newMemory()
				if backups[name] != nil && r.IntN(2) == 0 {
					stores[name] = backups[name].copy(t)
				}
				n.join(t, name, stores[name], nil)
			default:
				time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
			}
		}
		n.heal()
		n.converge(t, 5*time.Minute)
		now := map[string]bool{}
		for _, id := range ids(n.all()["a"]) {
			now[id] = true
			if gone[id] {
				t.Fatalf("seed %d: %s is back", seed, id)
			}
			if exact && removed[id] {
				t.Fatalf("seed %d: %s was removed and is there", seed, id)
			}
		}
		for id := range live {
			if !now[id] && !removed[id] {
				t.Fatalf("seed %d: %s is lost", seed, id)
			}
		}
		for id := range added {
			if exact && !now[id] && !removed[id] {
				t.Fatalf("seed %d: %s is lost, which was added", seed, id)
			}
			live[id] = true
		}
		for id := range live {
			if !now[id] {
				gone[id] = true
			}
		}
		live = now
	}
}

func TestChangedIsToldOfBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var mu sync.Mutex
		heard := map[string]int{}
		var a *List
		a = n.join(t, "a", newMemory(), func(ids []string) {
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				heard[id]++
				if strings.HasPrefix(id, "b") { // writing from the callback is allowed
					if err := a.Add(t.Context(), pin("seen "+id)); err != nil {
						t.Error(err)
					}
				}
			}
		})
		b := n.join(t, "b", newMemory(), nil)
		add(t, a, pin("a"))
		add(t, b, pin("b"))
		n.converge(t, soon)
		remove(t, b, "a")
		n.converge(t, soon)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if heard["a"] != 2 || heard["b"] != 1 || heard["seen b"] != 1 {
			t.Error(heard)
		}
	})
}

func TestSameIDOnTwoSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, _, c := three(t)
		n.split("a b", "c")
		p, q := pin("twice"), pin("twice")
		p.Name, q.Name = "from a", "from c"
		add(t, a, p)
		add(t, c, q)
		n.heal()
		n.converge(t, soon)
		x, _ := a.Get("twice")
		y, _ := c.Get("twice")
		if x.Name != y.Name {
			t.Error("edges disagree:", x.Name, y.Name)
		}
		remove(t, a, "twice")
		n.converge(t, soon)
		want(t, c)
	})
}

func TestRecordsOfLaterVersionsAreHandedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, store := n.join(t, "a", newMemory(), nil), newMemory()
		b := n.join(t, "b", newMemory(), nil)
		p := pin("new")
		raw, _ := encode(own(p))
		raw = append([]byte(`{"later":[1,2],`), raw[1:]...)
		d := dot{0xabc, 1}
		if _, err := a.told(t.Context(), "x", &tellRequest{Items: []item{{dot: d, Pin: raw}}}); err != nil {
			t.Fatal(err)
		}
		n.converge(t, soon)
		want(t, b, "new")
		n.leave("a")
		c := n.join(t, "c", store, nil)
		n.converge(t, soon)
		got, err := store.Get(t.Context(), keyOf(d))
		if err != nil || string(got) != string(raw) {
			t.Error(string(got), err)
		}
		if p, ok := c.Get("new"); !ok || p.Name != "release new" {
			t.Error(p)
		}
	})
}
