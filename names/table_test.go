package names

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/libp2p/go-libp2p/core/routing"
)

func TestAnswerLivesForItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 100)
		n := w.names(nil)
		if ttl := resolves(t, n, "/ipns/www.example.com", pageA); ttl != 100*time.Second {
			t.Fatalf("got a TTL of %s", ttl)
		}
		z.link("www.example.com", pageB, 100)
		time.Sleep(60 * time.Second)
		if ttl := resolves(t, n, "/ipns/www.example.com", pageA); ttl != 40*time.Second {
			t.Fatalf("got a TTL of %s after a minute", ttl)
		}
		time.Sleep(40 * time.Second)
		resolves(t, n, "/ipns/www.example.com", pageB)
		if z.count("www.example.com") != 2 {
			t.Fatalf("asked %d times", z.count("www.example.com"))
		}
	})
}

func TestBusyNameIsRefreshedAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 100)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		z.link("www.example.com", pageB, 100)
		z.with(func(z *zone) { z.delay = time.Second })
		time.Sleep(95 * time.Second)
		for range 10 {
			resolves(t, n, "/ipns/www.example.com", pageA)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if ttl := resolves(t, n, "/ipns/www.example.com", pageB); ttl != 100*time.Second {
			t.Fatalf("got a TTL of %s", ttl)
		}
		if z.count("www.example.com") != 2 {
			t.Fatalf("asked %d times", z.count("www.example.com"))
		}
	})
}

func TestTTLBounds(t *testing.T) {
	for name, tc := range map[string]struct {
		ttl  int
		age  string
		want time.Duration
	}{
		"as told":            {60, "", time.Minute},
		"too short":          {0, "", minTTL},
		"too long":           {864000, "", maxTTL},
		"nonsense":           {1 << 31, "", minTTL},
		"aged in HTTP cache": {60, "15", 45 * time.Second},
		"older than its TTL": {60, "900", minTTL},
		"nonsense age":       {60, "-3", time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, z := newWorld(t), newZone()
				w.serve("dns.example", z)
				z.age = tc.age
				z.link("www.example.com", pageA, tc.ttl)
				n := w.names(nil)
				if got := resolves(t, n, "/ipns/www.example.com", pageA); got != tc.want {
					t.Fatalf("got a TTL of %s, want %s", got, tc.want)
				}
			})
		})
	}
}

func TestLastGoodAnswerIsServedWhileResolverIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		w.setDown("dns.example", true)
		time.Sleep(time.Minute)

		start := time.Now()
		for range 3000 { // a visitor a second, for 50 minutes
			if ttl := resolves(t, n, "/ipns/www.example.com", pageA); ttl != staleTTL {
				t.Fatalf("a stale answer has a TTL of %s", ttl)
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took != 3000*time.Second {
			t.Fatalf("visitors waited %s", took-3000*time.Second)
		}
		if got := w.metric("shoal_names_stale"); got != 1 {
			t.Errorf("%v names are stale", got)
		}
		if got := w.metric("shoal_names_resolutions_total", "dnslink", "stale"); got != 3000 {
			t.Errorf("%v stale resolutions", got)
		}
		// 2+4+8+16 s, then one each 30 s, each set off by a visitor.
		if got := w.metric("shoal_names_lookups_total", "dnslink", "unavailable"); got < 90 || got > 106 {
			t.Errorf("%v lookups in 50 minutes", got)
		}
		if got := w.logCount("its last good answer is served"); got != 1 {
			t.Errorf("logged %d times", got)
		}

		z.link("www.example.com", pageB, 60)
		w.setDown("dns.example", false)
		time.Sleep(retryMax)
		resolves(t, n, "/ipns/www.example.com", pageA) // sets off the lookup
		synctest.Wait()
		if ttl := resolves(t, n, "/ipns/www.example.com", pageB); ttl != time.Minute {
			t.Errorf("got a TTL of %s", ttl)
		}
		if w.metric("shoal_names_stale") != 0 || w.logCount("can be looked up again") != 1 {
			t.Errorf("recovery does not show: %v stale, logged %d times", w.metric("shoal_names_stale"), w.logCount("can be looked up again"))
		}
	})
}

func TestStaleAnswerHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		w.setDown("dns.example", true)
		time.Sleep(maxStale + time.Minute - time.Millisecond)
		resolves(t, n, "/ipns/www.example.com", pageA)
		time.Sleep(time.Millisecond)
		fails(t, n, "/ipns/www.example.com", ErrUnavailable)
		if w.metric("shoal_names_stale") != 0 {
			t.Error("a name that is not served counts as stale")
		}
	})
}

func TestPatienceWithASlowResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		z.link("www.example.com", pageB, 60)
		z.with(func(z *zone) { z.delay = 3 * time.Second })
		time.Sleep(time.Hour)
		start := time.Now()
		resolves(t, n, "/ipns/www.example.com", pageA)
		if took := time.Since(start); took != patience {
			t.Fatalf("waited %s, want %s", took, patience)
		}
		time.Sleep(2 * time.Second)
		resolves(t, n, "/ipns/www.example.com", pageB)

		z.with(func(z *zone) { z.delay = time.Second }) // slow, and in time
		z.link("www.example.com", pageA, 60)
		time.Sleep(time.Hour)
		resolves(t, n, "/ipns/www.example.com", pageA)
	})
}

// TestOldFailureIsForgotten holds the first visitor after an outage long past to
// get the present answer and not the old one.
func TestOldFailureIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		w.setDown("dns.example", true)
		time.Sleep(time.Minute)
		resolves(t, n, "/ipns/www.example.com", pageA)
		w.setDown("dns.example", false)
		z.link("www.example.com", pageB, 60)
		time.Sleep(time.Hour)
		resolves(t, n, "/ipns/www.example.com", pageB)
	})
}

func TestRemovedNameIsNotKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		z.remove("www.example.com")
		time.Sleep(time.Minute)
		fails(t, n, "/ipns/www.example.com", ErrNotFound)
		w.setDown("dns.example", true)
		time.Sleep(time.Minute)
		fails(t, n, "/ipns/www.example.com", ErrUnavailable)
	})
}

func TestFailureIsRememberedBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		w.setDown("dns.example", true)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		for range 100 {
			fails(t, n, "/ipns/www.example.com", ErrUnavailable)
		}
		if got := w.metric("shoal_names_lookups_total"); got != 1 {
			t.Fatalf("%v lookups for 100 visitors", got)
		}
		w.setDown("dns.example", false)
		time.Sleep(retry)
		resolves(t, n, "/ipns/www.example.com", pageA)
	})
}

func TestOneLookupForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		z.delay = time.Second
		n := w.names(nil)
		first, cancel := context.WithTimeoutCause(context.Background(), time.Second/2, errors.New("visitor left"))
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := n.Resolve(first, mustPath(t, "/ipns/www.example.com"))
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "visitor left") {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			wg.Go(func() { resolves(t, n, "/ipns/www.example.com", pageA) })
		}
		wg.Wait()
		if z.count("www.example.com") != 1 {
			t.Fatalf("asked %d times", z.count("www.example.com"))
		}
	})
}

func TestLookupOutlivesWhoAskedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		z.delay = time.Second
		n := w.names(nil)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, _, err := n.DNSLink(ctx, "www.example.com"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		resolves(t, n, "/ipns/www.example.com", pageA)
		if z.count("www.example.com") != 1 {
			t.Fatalf("asked %d times", z.count("www.example.com"))
		}
	})
}

func TestFloodOfNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(func(o *Options) { o.Lookups, o.Entries = 4, 10 })
		resolves(t, n, "/ipns/www.example.com", pageA)
		z.with(func(z *zone) { z.delay = time.Second })
		time.Sleep(time.Hour)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { fails(t, n, fmt.Sprintf("/ipns/flood%d.example", i), ErrNotFound) })
		}
		synctest.Wait()
		fails(t, n, "/ipns/one.too.many.example", ErrUnavailable)
		resolves(t, n, "/ipns/www.example.com", pageA) // the last good answer
		wg.Wait()
		resolves(t, n, "/ipns/www.example.com", pageA) // there is room again
		for i := range 40 {
			fails(t, n, fmt.Sprintf("/ipns/flood%d.example", i), ErrNotFound)
		}
		if got := w.metric("shoal_names_entries"); got != 10 {
			t.Fatalf("%v names are remembered", got)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, z := newWorld(t), newZone()
		w.serve("dns.example", z)
		z.link("www.example.com", pageA, 60)
		n := w.names(nil)
		resolves(t, n, "/ipns/www.example.com", pageA)
		z.with(func(z *zone) { z.delay = time.Hour })
		done := make(chan error, 1)
		go func() {
			_, _, err := n.DNSLink(context.Background(), "other.example.com")
			done <- err
		}()
		synctest.Wait()
		n.Close()
		if err := <-done; !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Fatalf("who waited got %v", err)
		}
		resolves(t, n, "/ipns/www.example.com", pageA)
		if e := fails(t, n, "/ipns/new.example.com", ErrUnavailable); !errors.Is(e, ErrClosed) {
			t.Fatalf("got %v", e)
		}
		if got := w.metric("shoal_names_entries"); got != 0 {
			t.Fatal("metrics are still registered")
		}
		n.Close()
	})
}

// broken is a resolver that panics, as a parser might.
type broken struct{}

func (broken) txt(context.Context, string) ([]string, time.Duration, error) {
	panic("index out of range")
}

func TestPanicCostsOneLookup(t *testing.T) {
	w, z := newWorld(t), newZone()
	w.serve("dns.example", z)
	n := w.names(nil)
	n.dns = broken{}
	if e := fails(t, n, "/ipns/www.example.com", ErrInvalidRecord); strings.Contains(e.Error(), "index") {
		t.Errorf("the message tells the panic: %v", e)
	}
	if w.logCount("index out of range") != 1 {
		t.Error("the panic is not logged")
	}
}

func TestErrorsAreThoseOfTheLibrariesToo(t *testing.T) {
	for _, tc := range []struct{ err, is error }{
		{&Error{Reason: ErrUnavailable}, namesys.ErrResolveFailed},
		{&Error{Reason: ErrInvalidRecord}, namesys.ErrResolveFailed},
		{&Error{Reason: ErrRecursion}, namesys.ErrResolveRecursion},
		{&Error{Reason: ErrBadName}, ipns.ErrInvalidName},
		{&Error{Reason: ErrNotFound}, routing.ErrNotFound},
		{&Error{Reason: ErrUnsupported}, routing.ErrNotSupported},
		{&Error{Reason: ErrNotFound, missingDNSLink: true}, namesys.ErrMissingDNSLinkRecord},
		{&Error{Reason: ErrUnavailable, Cause: context.DeadlineExceeded}, context.DeadlineExceeded},
	} {
		if !errors.Is(tc.err, tc.is) {
			t.Errorf("%v is not %v", tc.err, tc.is)
		}
	}
	if errors.Is(&Error{Reason: ErrUnavailable}, namesys.ErrMissingDNSLinkRecord) {
		t.Error("an outage looks like a missing record")
	}
}
