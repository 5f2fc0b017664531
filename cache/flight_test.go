package cache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/cache"
)

// slow answers after a second, or when its ctx ends.
type slow struct {
	layer
	cancelled int
}

func (s *slow) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	b, src, err := s.layer.Get(ctx, c)
	select {
	case <-time.After(time.Second):
		return b, src, err
	case <-ctx.Done():
		s.mu.Lock()
		s.cancelled++
		s.mu.Unlock()
		return nil, src, context.Cause(ctx)
	}
}

// answer is what one Get brought, and when.
type answer struct {
	b     *block.Verified
	src   block.Source
	err   error
	after time.Duration
}

// ask calls Get in a goroutine of its own.
func ask(ctx context.Context, c *cache.Cache, id cid.Cid) <-chan answer {
	out, start := make(chan answer, 1), time.Now()
	go func() {
		b, src, err := c.Get(ctx, id)
		out <- answer{b, src, err, time.Since(start)}
	}()
	synctest.Wait()
	return out
}

// flying runs f in a bubble with a slow layer that holds the block id.
func flying(t *testing.T, f func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid)) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{layer: layer{source: block.Sibling}}
		id := s.add(t, 1, 100)
		f(t, open(t, 1<<20, s), s, id)
	})
}

func TestOneFlightForMany(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		v0 := cid.NewCidV0(id.Hash())
		var all []<-chan answer
		for range 50 {
			all = append(all, ask(context.Background(), c, id), ask(context.Background(), c, v0))
		}
		for i, ch := range all {
			want := id
			if i%2 == 1 {
				want = v0
			}
			if a := <-ch; a.err != nil || a.b.Cid() != want || a.src != block.Sibling {
				t.Fatalf("waiter %d got %v", i, a)
			}
		}
		if n := s.asked.Load(); n != 1 {
			t.Fatalf("asked %d times", n)
		}
	})
}

func TestLeaderLeavesOthersStay(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		leaderCtx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		leader := ask(leaderCtx, c, id)
		other := ask(context.Background(), c, id)
		if a := <-leader; !errors.Is(a.err, context.DeadlineExceeded) || a.after != 100*time.Millisecond {
			t.Fatalf("leader got %v", a)
		}
		if a := <-other; a.err != nil || a.after != time.Second {
			t.Fatalf("the other got %v", a)
		}
		if !has(c, id) || s.cancelled != 0 {
			t.Fatalf("kept: %v, cancelled: %d", has(c, id), s.cancelled)
		}
	})
}

func TestFollowerLeavesLeaderStays(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		leader := ask(context.Background(), c, id)
		why := errors.New("visitor hung up")
		ctx, cancel := context.WithCancelCause(context.Background())
		other := ask(ctx, c, id)
		cancel(why)
		if a := <-other; !errors.Is(a.err, why) || !errors.Is(a.err, context.Canceled) || a.after != 0 {
			t.Fatalf("the other got %v", a)
		}
		if a := <-leader; a.err != nil {
			t.Fatalf("leader got %v", a)
		}
	})
}

func TestLastOneOutCancelsTheFetch(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		ctx, cancel := context.WithCancel(context.Background())
		a, b := ask(ctx, c, id), ask(ctx, c, id)
		cancel()
		<-a
		<-b
		synctest.Wait()
		if s.cancelled != 1 || has(c, id) {
			t.Fatalf("cancelled %d, kept %v", s.cancelled, has(c, id))
		}
	})
}

// stubborn does not end when its ctx does.
type stubborn struct{ layer }

func (s *stubborn) Get(ctx context.Context, c cid.Cid) (*block.Verified, block.Source, error) {
	b, src, err := s.layer.Get(ctx, c)
	time.Sleep(time.Second)
	return b, src, err
}

func TestNobodyJoinsAFetchThatIsBeingCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stubborn{layer{source: block.Disk}}
		id := s.add(t, 1, 10)
		c := open(t, 1<<20, s)
		ctx, cancel := context.WithCancel(context.Background())
		first := ask(ctx, c, id)
		cancel()
		<-first
		time.Sleep(500 * time.Millisecond)
		if a := <-ask(context.Background(), c, id); a.err != nil || a.after != time.Second {
			t.Fatalf("the second got %v", a)
		}
		if s.asked.Load() != 2 {
			t.Fatalf("asked %d times", s.asked.Load())
		}
	})
}

func TestDoneContextStartsNothing(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, _, err := c.Get(ctx, id)
		synctest.Wait()
		if !errors.Is(err, context.Canceled) || s.asked.Load() != 0 {
			t.Fatalf("got %v, asked %d times", err, s.asked.Load())
		}
		get(t, c, id, block.Sibling)
		if _, src, err := c.Get(ctx, id); err != nil || src != block.Memory {
			t.Fatalf("a hit got %s, %v", src, err)
		}
	})
}

type traceKey struct{}

func TestFlightHasTheLeadersValuesButNotItsDeadline(t *testing.T) {
	l := &layer{}
	id := l.add(t, 1, 10)
	c := open(t, 1<<20, getter(func(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
		if _, ok := ctx.Deadline(); ok {
			t.Error("the fetch has a deadline")
		}
		if ctx.Value(traceKey{}) != "trace 7" {
			t.Error("the fetch has lost the trace")
		}
		return l.Get(ctx, id)
	}))
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), traceKey{}, "trace 7"), time.Hour)
	defer cancel()
	if _, _, err := c.Get(ctx, id); err != nil {
		t.Fatal(err)
	}
}

func TestPurgeWinsOverAFillUnderWay(t *testing.T) {
	for name, purge := range map[string]func(*cache.Cache, cid.Cid){
		"Remove": func(c *cache.Cache, id cid.Cid) { remove(c, id) },
		"Clear":  func(c *cache.Cache, _ cid.Cid) { c.Clear() },
	} {
		t.Run(name, func(t *testing.T) {
			flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
				before := ask(context.Background(), c, id)
				time.Sleep(time.Second / 2)
				purge(c, id)
				if a := <-before; a.err != nil {
					t.Fatalf("who had asked before got %v", a)
				}
				synctest.Wait()
				if has(c, id) {
					t.Fatal("a purged block came back")
				}
				if a := <-ask(context.Background(), c, id); a.err != nil || !has(c, id) {
					t.Fatalf("who asked later got %v, kept %v", a, has(c, id))
				}
			})
		})
	}
}

// TestPurgeDuringAFlightThatIsReplaced holds the old flight to be powerless over
// the one that was started after the purge.
func TestPurgeDuringAFlightThatIsReplaced(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		old := ask(context.Background(), c, id)
		time.Sleep(time.Second / 2)
		remove(c, id)
		second := ask(context.Background(), c, id)
		<-old
		third := ask(context.Background(), c, id) // joins the second
		if has(c, id) {
			t.Fatal("the old flight kept its block")
		}
		if a, b := <-second, <-third; a.err != nil || b.err != nil || b.after != time.Second/2 {
			t.Fatalf("got %v, %v", a, b)
		}
		if !has(c, id) || s.asked.Load() != 2 {
			t.Fatalf("kept %v, asked %d times", has(c, id), s.asked.Load())
		}
	})
}

func TestErrorsReachEveryWaiter(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, _ cid.Cid) {
		missing := rawCID(t, []byte("nobody has this"))
		other := cid.NewCidV1(cid.DagProtobuf, missing.Hash())
		a, b := ask(context.Background(), c, missing), ask(context.Background(), c, other)
		if got := <-a; !ipld.IsNotFound(got.err) {
			t.Fatalf("got %v", got.err)
		}
		if got := <-b; !ipld.IsNotFound(got.err) || !strings.Contains(got.err.Error(), other.String()) {
			t.Fatalf("got %v, want not found, naming %s", got.err, other)
		}
	})
}

func TestPanicWedgesNobody(t *testing.T) {
	cause := errors.New("index out of range")
	for name, fail := range map[string]func(){
		"panic":        func() { panic("broken") },
		"panic(error)": func() { panic(cause) },
		"Goexit":       runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &layer{source: block.Disk}
				id := l.add(t, 1, 10)
				broken := true
				c := open(t, 1<<20, getter(func(ctx context.Context, id cid.Cid) (*block.Verified, block.Source, error) {
					time.Sleep(time.Second)
					if broken {
						fail()
					}
					return l.Get(ctx, id)
				}))
				one, two := ask(context.Background(), c, id), ask(context.Background(), c, id)
				for _, a := range []answer{<-one, <-two} {
					if a.err == nil || a.b != nil {
						t.Fatalf("got %v, %v", a.b, a.err)
					}
					if strings.Contains(a.err.Error(), "goroutine") {
						t.Fatalf("the message has a stack: %v", a.err)
					}
					var p *cache.PanicError
					if errors.As(a.err, &p) != (name != "Goexit") || p != nil && !strings.Contains(string(p.Stack), "flight_test.go") {
						t.Fatalf("got %#v", a.err)
					}
					if name == "panic(error)" && !errors.Is(a.err, cause) {
						t.Fatalf("%v does not wrap what was passed to panic", a.err)
					}
				}
				broken = false
				if a := <-ask(context.Background(), c, id); a.err != nil {
					t.Fatalf("afterwards: %v", a.err)
				}
			})
		})
	}
}

func TestClose(t *testing.T) {
	flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
		other := s.add(t, 2, 10)
		get(t, c, other, block.Sibling)
		waiting := ask(context.Background(), c, id)
		c.Close()
		if s.cancelled != 1 {
			t.Fatal("Close returned before the fetch had ended")
		}
		if a := <-waiting; !errors.Is(a.err, context.Canceled) {
			t.Fatalf("who waited got %v", a.err)
		}
		if _, _, err := c.Get(context.Background(), other); !errors.Is(err, cache.ErrClosed) || c.Len() != 0 {
			t.Fatalf("after Close: %v, %d blocks", err, c.Len())
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCancellationMatrix has three visitors with every combination of leaving
// before, and not, and checks who gets what.
func TestCancellationMatrix(t *testing.T) {
	for leave := range 8 {
		t.Run(fmt.Sprintf("leaving %03b", leave), func(t *testing.T) {
			flying(t, func(t *testing.T, c *cache.Cache, s *slow, id cid.Cid) {
				var waiting []<-chan answer
				for i := range 3 {
					ctx := context.Background()
					if leave&(1<<i) != 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, time.Duration(i+1)*100*time.Millisecond)
						defer cancel()
					}
					waiting = append(waiting, ask(ctx, c, id))
				}
				for i, ch := range waiting {
					if a := <-ch; (leave&(1<<i) != 0) != errors.Is(a.err, context.DeadlineExceeded) {
						t.Errorf("visitor %d got %v", i, a.err)
					}
				}
				synctest.Wait()
				if all := leave == 7; has(c, id) == all || (s.cancelled == 1) != all || s.asked.Load() != 1 {
					t.Errorf("kept %v, cancelled %d, asked %d", has(c, id), s.cancelled, s.asked.Load())
				}
			})
		})
	}
}
