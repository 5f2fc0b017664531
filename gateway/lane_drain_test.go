package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

// What is being answered when the edge stops is answered to its end: in the lane, at
// net/http, and between the two.
func TestDrainOfTheLane(t *testing.T) {
	t.Parallel()
	l := newLaned(t, nil)
	l.warm(t, "s.txt", "big.bin")
	want := string(randomBytes(1 << 20))
	n := 40 // more than the kernel takes
	inLane := dial(t, l.addr).send(strings.Repeat(l.ask("big.bin", ""), n))
	if _, body, lane := inLane.raw(); !lane || body != want {
		t.Fatalf("lane %t, %d bytes", lane, len(body))
	}
	between := dial(t, l.addr).send(l.ask("s.txt", "")).skip()
	between.send(l.ask("s.txt", "Content-Length: 0\r\n")[:30])
	idle := dial(t, l.addr).send(l.ask("s.txt", "")).skip()
	back := dial(t, l.addr).send(l.ask("s.txt", "Content-Length: 0\r\n")).skip()
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l.shelf.hook(func(context.Context, cid.Cid) error {
		once.Do(func() { close(entered) })
		<-release
		return nil
	})
	atNetHTTP := dial(t, l.addr).send(l.ask("s.txt", "")).skip().send(l.ask("m.txt", "") + l.ask("s.txt", ""))
	<-entered
	until(t, "the half request", func() bool { return l.listening() == 2 })
	l.stop()
	idle.ends()
	back.ends()
	close(release)
	atNetHTTP.receive("GET", true)
	between.send(l.ask("s.txt", "Content-Length: 0\r\n")[30:]).receive("GET", true)
	select {
	case err := <-l.done:
		t.Fatalf("Serve returned with an answer on its way: %v", err)
	default:
	}
	for i := 1; ; i++ {
		res, err := http.ReadResponse(inLane.in, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != want {
			t.Fatalf("answer %d: %d bytes, %v", i, len(b), err)
		}
		if res.Close {
			break
		}
	}
	if err := <-l.done; err != nil {
		t.Error(err)
	}
}

// Clients that use their connections when the edge stops notice nothing but the ends that
// answers announce.
func TestDrainUnderLoad(t *testing.T) {
	for round := range 5 {
		l := newLaned(t, nil)
		l.warm(t, "s.txt", "m.txt")
		var crowd sync.WaitGroup
		var answers atomic.Int64
		for k := range 12 {
			crowd.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(k)))
				for {
					conn, err := net.Dial("tcp", l.addr)
					if err != nil {
						return // it stopped
					}
					c := &kept{t, conn, nil}
					if !c.visit(l, rng, &answers) {
						return
					}
				}
			})
		}
		until(t, "answers", func() bool { return answers.Load() > 300 })
		l.stop()
		crowd.Wait()
		if err := <-l.done; err != nil {
			t.Error(err)
		}
	}
}

// visit asks until the connection ends. It reports false when the edge does not answer a
// new connection any more, or something was wrong.
func (c *kept) visit(l *laned, rng *rand.Rand, answers *atomic.Int64) bool {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	c.in = bufio.NewReader(c.Conn)
	for i := 0; ; i++ {
		request := l.ask([]string{"s.txt", "m.txt"}[rng.IntN(2)], []string{"", "", "Content-Length: 0\r\n"}[rng.IntN(3)])
		if _, err := io.WriteString(c, request); err != nil {
			if i > 0 {
				c.t.Errorf("request %d: %v", i, err)
			}
			return false
		}
		res, err := http.ReadResponse(c.in, nil)
		if err != nil {
			// Who connects just when the listener closes may be refused by the kernel.
			if i > 0 {
				c.t.Errorf("answer %d: %v", i, err)
			}
			return false
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || res.StatusCode != 200 || n != res.ContentLength {
			c.t.Errorf("answer %d: %s, %d bytes, %v", i, res.Status, n, err)
			return false
		}
		answers.Add(1)
		if res.Close {
			return true
		}
	}
}

// Close ends every connection, wherever it is, and leaves no goroutine.
func TestCloseOfTheLane(t *testing.T) {
	for round := range 20 {
		l := newLaned(t, nil)
		l.warm(t, "s.txt", "big.bin")
		requests := []string{
			l.ask("s.txt", ""), strings.Repeat(l.ask("big.bin", ""), 30), l.ask("s.txt", "Content-Length: 0\r\n"), "GET /", "POST ", l.ask("s.txt", "") + "GET /x",
		}
		var crowd sync.WaitGroup
		for k := range 12 {
			c := dialPlain(t, l.addr)
			crowd.Go(func() {
				go func() { _, _ = io.Copy(io.Discard, c) }()
				for range 1 + 200*(k%2) {
					if _, err := io.WriteString(c, requests[k%len(requests)]); err != nil {
						return
					}
				}
			})
		}
		time.Sleep(time.Duration(round) * 200 * time.Microsecond) // each time elsewhere
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-l.done; err != nil {
			t.Error(err)
		}
		until(t, "the connections' end", func() bool { return l.open() == 0 })
		crowd.Wait()
	}
}

// A drain that takes too long cuts off what is left in the lane, and says how much.
func TestDrainOfTheLaneIsBounded(t *testing.T) {
	t.Parallel()
	l := newLaned(t, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	large := l.shelf.repeated(t, make([]byte, 256<<10), 256)
	l.get("http://127.0.0.1/ipfs/"+large.String()).want(t, 200, "")
	dial(t, l.addr).send("GET /ipfs/" + large.String() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	until(t, "a stalled answer", func() bool { return l.series(t)["shoal_http_requests_in_flight{}"] == 1 })
	l.stop()
	if err := <-l.done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "cut off 1 answers") {
		t.Errorf("got %v", err)
	}
}
