package list

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// given returns the last number that an edge gave.
func given(l *List) dot {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.index.given
}

// tell has a list told things by somebody who does not exist.
func tell(t *testing.T, l *List, items ...item) tellAnswer {
	t.Helper()
	answer, err := l.told(t.Context(), "liar", &tellRequest{Items: items})
	if err != nil {
		t.Fatal(err)
	}
	return answer.(tellAnswer)
}

// spoil makes a list believe that numbers of an author were given out and removed.
func spoil(t *testing.T, l *List, a author, said ranges) {
	t.Helper()
	if err := l.change(t.Context(), func(t *transaction) error { t.learn(a, said); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestNumbersThatWereNeverGivenOut has a sibling count numbers of an edge as removed before the
// edge gives them to pins: what is added is on all lists all the same, and stays.
func TestNumbersThatWereNeverGivenOut(t *testing.T) {
	for what, claim := range map[string]func(last uint64) ranges{
		"the next":       func(n uint64) ranges { return ranges{{n + 1, n + 1}} },
		"the next few":   func(n uint64) ranges { return ranges{{n + 1, n + 4}} },
		"one ahead":      func(n uint64) ranges { return ranges{{n + 3, n + 3}} },
		"a million":      func(uint64) ranges { return ranges{{1, 1e6}} },
		"the last":       func(uint64) ranges { return ranges{{math.MaxUint64 - 1, math.MaxUint64 - 1}} },
		"all":            func(uint64) ranges { return ranges{{1, math.MaxUint64 - 1}} },
		"the last place": func(uint64) ranges { return ranges{{math.MaxUint64 - bucketSize, math.MaxUint64 - 1}} },
	} {
		for _, wait := range []time.Duration{0, 30 * time.Millisecond, soon} {
			t.Run(fmt.Sprint(what, " ", wait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n, a, b, c := three(t)
					n.spoil(10*time.Millisecond, 0)
					add(t, a, pin("1"), pin("2"))
					n.converge(t, soon)
					d := given(a)
					spoil(t, b, d.Author, claim(d.Seq))
					time.Sleep(wait)
					for i := range 5 {
						add(t, a, pin(fmt.Sprint("new ", i)))
						time.Sleep(time.Millisecond)
					}
					n.converge(t, 2*soon)
					want(t, b, "1", "2", "new 0", "new 1", "new 2", "new 3", "new 4")
					remove(t, c, "1", "new 0", "new 1", "new 2", "new 3", "new 4")
					n.converge(t, soon)
					want(t, a, "2")
				})
			})
		}
	}
}

// TestNumbersAreSpokenOfToTheirAuthor tells it to the edge that gives the numbers.
func TestNumbersAreSpokenOfToTheirAuthor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, _ := three(t)
		add(t, a, pin("1"))
		n.converge(t, soon)
		d := given(a)
		tell(t, a, item{dot: dot{d.Author, d.Seq + 1}}, item{dot: dot{d.Author, math.MaxUint64 - 1}})
		add(t, a, pin("2"), pin("3"))
		if e := given(a); e.Author == d.Author || e.Seq != 2 {
			t.Errorf("numbers up to %v follow %v", e, d)
		}
		n.converge(t, soon)
		want(t, b, "1", "2", "3")
	})
}

// TestSpoiltWhileCutOff has the numbers given out before the claim can be heard of, and
// the sibling bring it to the others first.
func TestSpoiltWhileCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, c := three(t)
		add(t, a, pins("old", 20)...)
		n.converge(t, soon)
		remove(t, b, "old-000003")
		n.converge(t, soon)
		n.split("a", "b c")
		d := given(a)
		spoil(t, b, d.Author, ranges{{1, d.Seq + 2000}})
		remove(t, c, "old-000004")
		time.Sleep(soon)
		add(t, a, pins("new", 1500)...)
		n.heal()
		n.converge(t, 5*soon)
		for i := range 1500 {
			if _, ok := c.Get(fmt.Sprintf("new-%06d", i)); !ok {
				t.Fatalf("pin %d is lost", i)
			}
		}
		if _, ok := a.Get("old-000003"); ok {
			t.Error("what was removed before is back")
		}
	})
}

// TestSetBack takes the machine of an edge back to a snapshot while it runs: it gives out
// numbers that its siblings know for other pins.
func TestSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		store := newMemory()
		a, b := n.join(t, "a", store, nil), n.join(t, "b", newMemory(), nil)
		add(t, a, pin("1"), pin("2"))
		n.converge(t, soon)
		snapshot, d := store.copy(t), given(a)
		add(t, a, pin("3"), pin("4"), pin("5"), pin("6"))
		remove(t, a, "4")
		n.converge(t, soon)
		n.leave("a")
		n.split("a", "b")
		a = n.join(t, "a", snapshot, nil)
		// The writer waits for changes, and the first one of ours comes after this.
		a.mu.Lock()
		a.writer.author, a.writer.seq, a.writer.gave[d.Author] = d.Author, d.Seq, d.Seq
		a.index.given = d
		a.mu.Unlock()
		add(t, a, pin("x"), pin("y"))
		n.heal()
		n.converge(t, soon)
		want(t, b, "1", "2", "3", "5", "6", "x", "y")
		remove(t, b, "3", "x")
		n.converge(t, soon)
		want(t, a, "1", "2", "5", "6", "y")
	})
}

// TestRemovalUnderTheOldNumber removes a pin on an edge that has not heard of its new number.
func TestRemovalUnderTheOldNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, a, b, _ := three(t)
		add(t, a, pin("1"))
		n.converge(t, soon)
		old := dot{given(a).Author, 2}
		spoil(t, b, old.Author, ranges{{2, 2}})
		add(t, a, pin("2"))
		n.converge(t, soon)
		if a.index.at(old) != nil || a.Len() != 2 {
			t.Fatal("it has not got another number", ids(a))
		}
		tell(t, a, item{dot: old}) // whoever says this need not have seen a pin
		n.converge(t, soon)
		want(t, b, "1", "2")
		tell(t, a, item{dot: old, ID: "2"})
		n.converge(t, soon)
		want(t, b, "1")
	})
}

// TestRemovalOvertakesAddition is what happens in every honest fleet at times.
func TestRemovalOvertakesAddition(t *testing.T) {
	l := alone(t, newMemory())
	raw, _ := encode(own(pin("p")))
	d := dot{7, 1}
	tell(t, l, item{dot: d, ID: "p"})
	if a := tell(t, l, item{dot: d, Pin: raw}); len(a.Removed) > 0 || l.Len() > 0 {
		t.Error("a removal that was seen is doubted:", a, ids(l))
	}
	tell(t, l, item{dot: dot{7, 2}})
	if a := tell(t, l, item{dot: dot{7, 2}, Pin: raw}); len(a.Removed) != 1 {
		t.Error("a removal that nobody has seen is believed:", a)
	}
	tell(t, l, item{dot: dot{7, 3}, Pin: raw})
	tell(t, l, item{dot: dot{7, 3}})
	if a := tell(t, l, item{dot: dot{7, 3}, Pin: raw}); len(a.Removed) > 0 || l.Len() > 0 {
		t.Error("it was there, and removed:", a, ids(l))
	}
}

func TestNothingIsRemovedWithoutAWord(t *testing.T) {
	var mu sync.Mutex
	var lines bytes.Buffer
	l, err := New(DefaultOptions(), Config{Datastore: newMemory(), Log: slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return lines.Write(b)
	}), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	add(t, l, pin("1"), pin("2"))
	d := given(l)
	tell(t, l, item{dot: dot{d.Author, 1}})
	tell(t, l, item{dot: dot{d.Author, 9}})
	if err := l.insist(t.Context(), &sibling{name: "s"}, []item{{dot: d, Pin: json.RawMessage("{}")}}, time.Now(), []dot{d}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{
		"level=INFO msg=\"list of pins: removed by a sibling\" sibling=liar pins=1 ids=[1]",
		"highest=9", "sibling=s pins=1 ids=[2]",
	} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("%q is not in the log:\n%s", want, lines.String())
		}
	}
	want(t, l, "2")
	audit(t, l)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestMadeUpAuthorsAreBounded refuses authors of others that are too many, not those of its own pins.
func TestMadeUpAuthorsAreBounded(t *testing.T) {
	l := alone(t, newMemory())
	l.index.spans = maxSpans - 10
	items := make([]item, 11)
	for i := range items {
		items[i] = item{dot: dot{author(i + 1), 1}}
	}
	if _, err := l.told(t.Context(), "liar", &tellRequest{Items: items}); err == nil || len(l.index.known) > 0 {
		t.Error(err, len(l.index.known))
	}
	tell(t, l, items[:10]...)
	add(t, l, pin("1"))
	tell(t, l, items[:10]...)
	tell(t, l, item{dot: given(l)})
	want(t, l)
	audit(t, l)
}

// TestContradictionEnds has a sibling say of every pin that it was removed before.
func TestContradictionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tells atomic.Int32
		list, err := New(DefaultOptions(), Config{Datastore: newMemory(), Peers: liar{
			methodCompare: func(any) any { return compareAnswer{Run: "r"} },
			methodTell: func(request any) any {
				tells.Add(1)
				var answer tellAnswer
				for _, it := range request.(tellRequest).Items {
					answer.Removed = append(answer.Removed, it.dot)
				}
				return answer
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer list.Close()
		list.Start()
		time.Sleep(soon)
		add(t, list, pin("1"))
		time.Sleep(time.Minute)
		if n := tells.Load(); n != maxStrikes+1 {
			t.Errorf("told %d times", n)
		}
		want(t, list, "1")
		audit(t, list)
	})
}

// TestRandomClaims has siblings count numbers as removed at any time, that were never given
// out, while pins come and go: each is there in the end, unless it was removed.
func TestRandomClaims(t *testing.T) {
	for seed := range uint64(8) {
		synctest.Test(t, func(t *testing.T) { randomClaims(t, seed) })
	}
}

func randomClaims(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 11))
	n := newNetwork()
	n.spoil(20*time.Millisecond, 0)
	names := []string{"a", "b", "c", "d"}
	for _, name := range names {
		n.join(t, name, newMemory(), nil)
	}
	there := map[string]bool{}
	for i := range 200 {
		l := n.all()[names[r.IntN(len(names))]]
		switch k := r.IntN(100); {
		case k < 50:
			p := pin(fmt.Sprint(i))
			add(t, l, p)
			there[p.ID] = true
		case k < 65:
			n.converge(t, 5*soon)
			if all := ids(l); len(all) > 0 {
				id := all[r.IntN(len(all))]
				remove(t, l, id)
				delete(there, id)
			}
		case k < 85:
			of := n.all()[names[r.IntN(len(names))]]
			if d := given(of); d.Author != 0 && of != l {
				from := d.Seq + 1 + r.Uint64N(3)
				spoil(t, l, d.Author, ranges{{from, from + r.Uint64N(1<<r.IntN(60))}})
			}
		default:
			time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
		}
	}
	n.converge(t, 5*soon)
	l := n.all()["a"]
	for id := range there {
		if _, ok := l.Get(id); !ok {
			t.Errorf("seed %d: %s is lost", seed, id)
		}
	}
	if l.Len() != len(there) {
		t.Errorf("seed %d: %d pins, want %d", seed, l.Len(), len(there))
	}
}
