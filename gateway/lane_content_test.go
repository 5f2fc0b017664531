package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// Whatever happens to sites and to what is kept meanwhile, no request gets other bytes than
// its own.
func TestReloadsAndPurgesUnderTheLane(t *testing.T) {
	l := newLaned(t, nil)
	files := map[string]string{}
	for i := range 12 {
		files[fmt.Sprintf("f%d.txt", i)] = fmt.Sprintf("%d\n%s", i, noise(1+i*i*400))
	}
	root := l.shelf.tree(t, files)
	site := Site{"www.example.org", "/ipfs/" + root.String()}
	l.reload(func(o *Options) { o.Sites = []Site{site} })
	stop := make(chan struct{})
	var changes, crowd sync.WaitGroup
	changes.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(25 * time.Millisecond):
			}
			if i%3 == 0 {
				l.reload(func(o *Options) {
					o.Sites = []Site{site, {fmt.Sprintf("s%d.example.org", i), "/ipfs/" + root.String()}}
				})
			} else {
				l.Forget()
			}
		}
	})
	var inLane atomic.Int64
	for k := range 8 {
		crowd.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(k)))
			c := dial(t, l.addr)
			for n := 0; n < 1250 && !t.Failed(); {
				var want []string
				var all strings.Builder
				for range 1 + rng.IntN(5) {
					name := fmt.Sprintf("f%d.txt", rng.IntN(len(files)))
					from := rng.IntN(len(files[name]))
					to := from + rng.IntN(len(files[name])-from)
					host, dir := "www.example.org", "/"
					if rng.IntN(2) == 0 {
						host, dir = "127.0.0.1", "/ipfs/"+root.String()+"/"
					}
					fmt.Fprintf(&all, "GET %s%s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%d-%d\r\n\r\n", dir, name, host, from, to)
					want = append(want, files[name][from:to+1])
				}
				c.send(all.String())
				for _, w := range want {
					n++
					head, body, lane := c.raw()
					if lane {
						inLane.Add(1)
					}
					if !strings.HasPrefix(head, "HTTP/1.1 206 ") || body != w {
						t.Errorf("%q: %d bytes, want %d", head, len(body), len(w))
						return
					}
				}
			}
		})
	}
	crowd.Wait()
	close(stop)
	changes.Wait()
	if inLane.Load() < 500 {
		t.Errorf("the lane answered %d requests", inLane.Load())
	}
}

// A file that is read block by block fails in the lane as it does elsewhere: an answer of its
// own before the first byte, and a message that is cut afterwards.
func TestFailuresInTheLane(t *testing.T) {
	l := newLaned(t, func(o *Options) { o.HotBodies, o.FetchParallel = false, 1 })
	text := noise(30_000)
	file := l.shelf.file(t, []byte(text)).Cid()
	url := "/ipfs/" + file.String()
	l.get("http://127.0.0.1"+url).want(t, 200, text)
	var failing atomic.Int64 // from which block on
	var asked atomic.Int64
	l.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if n := asked.Add(1); failing.Load() > 0 && n >= failing.Load() {
			return &block.UnavailableError{Cid: c, From: secretAddress, Err: errors.New("cut")}
		}
		return nil
	})
	ask := func(from int64, fields string) *kept {
		failing.Store(from)
		asked.Store(0)
		return dial(t, l.addr).send("GET " + url + " HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + "\r\n")
	}
	if _, body, lane := ask(0, "").raw(); !lane || body != text {
		t.Fatalf("lane %t, %d bytes", lane, len(body))
	}
	for _, fields := range []string{"", "Range: bytes=0-9999\r\n", "Range: bytes=100-199\r\n"} {
		if status := ask(1, fields).receive("GET", true); status != 502 {
			t.Errorf("%q: status %d", fields, status)
		}
	}
	for _, fields := range []string{"", "Range: bytes=0-19999\r\n"} {
		c := ask(12, fields)
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(b) == 0 || !strings.HasPrefix(text, string(b)) {
			t.Errorf("%q: %s, %d bytes, %v", fields, res.Status, len(b), err)
		}
	}
	if _, body, lane := ask(0, "Range: bytes=5-20000\r\n").raw(); !lane || body != text[5:20001] {
		t.Errorf("afterwards: lane %t, %d bytes", lane, len(body))
	}
	until(t, "no request in flight", func() bool { return l.series(t)["shoal_http_requests_in_flight{}"] == 0 })
}

// Where a name leads is asked for each request, in the lane as well.
func TestNamesThatMoveUnderTheLane(t *testing.T) {
	l := newLaned(t, nil)
	c := dial(t, l.addr)
	seen := 0
	for i := range 6 {
		root := l.shelf.tree(t, map[string]string{"index.html": fmt.Sprintf("edition %d", i)})
		l.names.set("moving.example.net", "/ipfs/"+root.String())
		for range 3 {
			_, body, lane := c.send("GET / HTTP/1.1\r\nHost: moving.example.net\r\n\r\n").raw()
			if body != fmt.Sprintf("edition %d", i) {
				t.Fatalf("%q after move %d", body, i)
			}
			if lane {
				seen++
			}
		}
	}
	if seen != 12 {
		t.Errorf("%d answers in the lane, want all but the first of each", seen)
	}
}

// luckless are names that panic when they are told to.
type luckless struct {
	Names
	now atomic.Bool
}

func (p *luckless) Resolve(ctx context.Context, asked path.Path) (path.ImmutablePath, time.Duration, error) {
	if p.now.Load() {
		panic("no such luck")
	}
	return p.Names.Resolve(ctx, asked)
}

// A panic ends a connection, and nothing else.
func TestAPanicInTheLane(t *testing.T) {
	names := &luckless{}
	e := newEdge(t, nil)
	names.Names, e.Gateway.names = e.names, names
	e.names.set("named.example.net", "/ipfs/"+website(t, e.shelf).String())
	addr, _, _ := e.serve()
	get := "GET / HTTP/1.1\r\nHost: named.example.net\r\n\r\n"
	c := dial(t, addr)
	c.send(get).body()
	c.send(get).body()
	names.now.Store(true)
	c.send(get).ends()
	names.now.Store(false)
	if b := dial(t, addr).send(get).body(); b != "<h1>home</h1>" {
		t.Errorf("%q", b)
	}
	if !strings.Contains(e.log.String(), "panic in the hot lane") {
		t.Error("the log says nothing")
	}
}

// What proxies say is believed in the lane if they are trusted.
func TestProxiesInTheLane(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		e := newEdge(t, func(o *Options, e *edge) {
			o.Serve = ServeSites
			o.Sites = []Site{{"www.example.org", "/ipfs/" + website(t, e.shelf).String()}, {"b.example.org", "/ipfs/" + e.shelf.tree(t, map[string]string{"index.html": "b"}).String()}}
			if trusted {
				o.TrustedProxies = []string{"127.0.0.1", "192.0.2.0/24"}
			}
		})
		addr, _, _ := e.serve()
		for _, tc := range []struct{ host, fields, body, client string }{
			{"b.example.org", "", "b", "127.0.0.1"},
			{"b.example.org", "X-Forwarded-Host: www.example.org\r\nX-Forwarded-For: 203.0.113.7\r\n", "<h1>home</h1>", "203.0.113.7"},
			{"b.example.org", "X-Forwarded-Host: b.example.org, www.example.org\r\nX-Forwarded-For: 203.0.113.8, 192.0.2.1\r\n", "<h1>home</h1>", "203.0.113.8"},
			{"b.example.org", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 203.0.113.10\r\nx-forwarded-host: www.example.org\r\n", "<h1>home</h1>", "203.0.113.10"},
			{"b.example.org", "Forwarded: for=203.0.113.11;host=www.example.org\r\n", "<h1>home</h1>", "203.0.113.11"},
			{"b.example.org", "X-Real-IP: 203.0.113.12\r\n", "b", "127.0.0.1"},
		} {
			if !trusted {
				tc.body, tc.client = "b", "127.0.0.1"
			}
			c := dial(t, addr)
			for i := range 3 {
				lines := func() int { return strings.Count(e.log.String(), " client="+tc.client+" ") }
				before := lines()
				_, body, lane := c.send("GET / HTTP/1.1\r\nHost: " + tc.host + "\r\n" + tc.fields + "\r\n").raw()
				if body != tc.body || !lane && i > 0 {
					t.Errorf("trusted %t, %q: %q, lane %t", trusted, tc.fields, body, lane)
				}
				until(t, "the log's line for "+tc.client, func() bool { return lines() > before })
			}
		}
	}
}
