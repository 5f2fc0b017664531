package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The same bytes to two gateways, one with the hot lane and one behind net/http alone: the
// answers must be the same, and the connection must end at the same place.

// rivals are the two gateways.
type rivals struct {
	lane, plain string // addresses
	hit         *edge
	paths       []string
	tag         string
}

func newRivals(t testing.TB) *rivals {
	t.Helper()
	s := newShelf()
	tree := s.tree(t, map[string]string{
		"index.html": "<h1>home</h1>", "s.txt": "small", "empty.txt": "", "m.txt": strings.Repeat("0123456789", 1000), "l.txt": lines(3000),
		"sub/x.css": "body{}", "404.html": "lost", "_redirects": "/old/* /s.txt 301\n/* /404.html 404\n",
	})
	sides := [2]*edge{}
	for i := range sides {
		sides[i] = newEdge(t, func(o *Options, e *edge) {
			e.shelf, e.log.discard = s, true
			// What a form of content looks like depends on the time there was for it.
			o.Compression = false
			o.Sites = []Site{{"www.example.org", "/ipfs/" + tree.String()}}
		})
	}
	r := &rivals{hit: sides[0], tag: `"` + s.child(t, tree, "s.txt").String() + `"`}
	r.lane = serveTwin(t, sides[0]).addr
	r.plain = servePlain(t, sides[1])
	for _, p := range []string{"/", "/s.txt", "/s.txt", "/s.txt", "/empty.txt", "/m.txt", "/sub/", "/sub", "/sub/x.css", "/none", "/old/x"} {
		r.paths = append(r.paths, p, "/ipfs/"+tree.String()+p)
	}
	return r
}

// servePlain serves a gateway by net/http, which gets the connections from the listener.
func servePlain(t testing.TB, e *edge) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := e.newServer(newWires(ln, e.opts.WriteTimeout, &e.draining))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return ln.Addr().String()
}

// transcript is what came back on a connection.
type transcript struct {
	answers []string // without what is different each time
	alone   bool     // the server ended it, before it was told that nothing more comes
	reset   bool     // and what was on its way may be lost
	http2   bool
}

// talk sends pieces on a new connection, and reads until its end. After so much silence the
// server counts as waiting for more.
func talk(t testing.TB, addr string, silence time.Duration, pieces [][]byte) transcript {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		for i, p := range pieces {
			if i > 0 {
				time.Sleep(200 * time.Microsecond) // so that pieces arrive as such
			}
			if _, err := c.Write(p); err != nil {
				return // it was closed: see what was read
			}
		}
	})
	var all bytes.Buffer
	got := transcript{alone: true}
	for buf := make([]byte, 64<<10); ; {
		_ = c.SetReadDeadline(time.Now().Add(silence))
		if !got.alone {
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		}
		n, err := c.Read(buf)
		all.Write(buf[:n])
		switch {
		case err == nil:
		case got.alone && errors.Is(err, os.ErrDeadlineExceeded):
			sending.Wait()
			got.alone = false
			_ = c.(*net.TCPConn).CloseWrite()
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			got.reset = !errors.Is(err, io.EOF)
			got.http2 = all.Len() > 0 && all.Bytes()[0] == 0
			got.answers = split(all.String())
			return got
		default:
			t.Errorf("%v; so far %q", err, all.String())
			return got
		}
	}
}

// split cuts what was read into answers; no content here looks like one. The order of the
// fields does not matter.
func split(all string) (answers []string) {
	for all != "" {
		end := strings.Index(all[1:], "HTTP/1.") + 1
		if end == 0 {
			end = len(all)
		}
		head, body, _ := strings.Cut(all[:end], "\r\n\r\n")
		fields := strings.Split(head, "\r\n")
		kept := slices.DeleteFunc(fields[1:], func(f string) bool {
			name, _, _ := strings.Cut(f, ":")
			return name == "Date" || name == "Server-Timing" || name == "Cache-Status"
		})
		slices.Sort(kept)
		answers = append(answers, fields[0]+"\n"+strings.Join(kept, "\n")+"\n\n"+body)
		all = all[end:]
	}
	return answers
}

// agree sends the same bytes to both, and compares.
func (r *rivals) agree(t testing.TB, pieces [][]byte) (answers int) {
	t.Helper()
	// On a busy machine a server that is slow looks like one that waits.
	for _, silence := range []time.Duration{500 * time.Millisecond, 10 * time.Second} {
		var got, want transcript
		var both sync.WaitGroup
		both.Go(func() { got = talk(t, r.lane, silence, pieces) })
		both.Go(func() { want = talk(t, r.plain, silence, pieces) })
		both.Wait()
		difference := compare(got, want, pieces)
		switch {
		case difference == "":
			return len(want.answers)
		case got.alone && want.alone || silence > time.Second:
			t.Error(difference)
			return 0
		}
	}
	return 0
}

// compare says what is different, for people.
func compare(got, want transcript, pieces [][]byte) string {
	if got.http2 && want.http2 {
		return ""
	}
	if n := len(want.answers); bytes.Contains(bytes.Join(pieces, nil), []byte("PRI * HTTP/2.0\r\n")) && n > 1 && n == len(got.answers)+1 {
		// The preface of HTTP/2 ends a connection that has had answers; net/http says 405 first.
		want.answers = want.answers[:n-1]
	}
	if (got.reset || want.reset) && got.alone == want.alone {
		n := min(len(got.answers), len(want.answers))
		got.answers, want.answers = got.answers[:n], want.answers[:n]
		if n > 0 {
			m := min(len(got.answers[n-1]), len(want.answers[n-1]))
			got.answers[n-1], want.answers[n-1] = got.answers[n-1][:m], want.answers[n-1][:m]
		}
	}
	if !slices.Equal(got.answers, want.answers) || got.alone != want.alone {
		same := 0
		for same < min(len(got.answers), len(want.answers)) && got.answers[same] == want.answers[same] {
			same++
		}
		return fmt.Sprintf("to %.1500q\nafter %d answers that are the same:\ngot  %s\n     ended by the server: %t (reset: %t)\nwant %s\n     ended by the server: %t (reset: %t)",
			pieces, same, brief(got.answers[same:]), got.alone, got.reset, brief(want.answers[same:]), want.alone, want.reset)
	}
	return ""
}

// brief shows answers by their head's beginning, and their length and end.
func brief(answers []string) (b string) {
	for _, a := range answers {
		b += fmt.Sprintf("%.600q (%d bytes) %.100q, ", a, len(a), a[max(0, len(a)-100):])
	}
	return b
}

// ordinary makes up a request for the hot lane, if its page is kept.
func (r *rivals) ordinary(rng *rand.Rand) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", pick("GET", "GET", "GET", "HEAD"), pick(r.paths...), pick("www.example.org", "www.example.org", "127.0.0.1", "WWW.example.org:8080", "gw.example.org"))
	for rng.IntN(3) == 0 {
		b.WriteString(pick("Range: bytes=1-3", "Range: bytes=-2", "Range: bytes=500-", "Range: bytes=0-1,2-3", "Range: x", "If-None-Match: "+r.tag, "If-None-Match: W/"+r.tag, `If-None-Match: "x"`, "If-Range: "+r.tag,
			"Accept: */*", "Accept: text/html", "Accept-Encoding: gzip, br", "User-Agent: x", "Cookie: a=b", "Origin: http://elsewhere.example", "Connection: keep-alive", "X-Forwarded-Host: elsewhere.example", "If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT") + "\r\n")
	}
	return b.String() + "\r\n"
}

// goodbye is the request after which nothing comes.
const goodbye = "GET /s.txt HTTP/1.1\r\nHost: www.example.org\r\nConnection: close\r\n\r\n"

// sequence makes up what comes on a connection, cut at any places.
func (r *rivals) sequence(rng *rand.Rand, odd []string) (pieces [][]byte) {
	var all []byte
	// Before a refusal there are no long answers: net/http closes with bytes unread, and
	// the end of what is still on its way is lost.
	odds, long := rng.IntN(4), false
	for range 1 + rng.IntN(8) {
		switch {
		case odds > 0 && rng.IntN(3) == 0:
			all = append(all, odd[rng.IntN(len(odd))]...)
		case odds == 0 && !long:
			all, long = append(all, "GET /l.txt HTTP/1.1\r\nHost: www.example.org\r\n\r\n"...), true
		default:
			all = append(all, r.ordinary(rng)...)
		}
	}
	return cut(rng, append(all, goodbye...))
}

// cut cuts bytes into pieces.
func cut(rng *rand.Rand, all []byte) (pieces [][]byte) {
	for range rng.IntN(5) {
		n := rng.IntN(len(all))
		if rng.IntN(2) == 0 {
			n = min(n, 40)
		}
		if n > 0 {
			pieces, all = append(pieces, all[:n]), all[n:]
		}
	}
	return append(pieces, all)
}

func TestTheLaneAnswersLikeNetHTTP(t *testing.T) {
	r := newRivals(t)
	odd := r.oddities()
	var work sync.WaitGroup
	var next, answers atomic.Int64
	for range 24 {
		work.Go(func() {
			for i := int(next.Add(1)); i <= 500+2*len(odd) && !t.Failed(); i = int(next.Add(1)) {
				rng := rand.New(rand.NewPCG(7, uint64(i)))
				pieces := r.sequence(rng, odd)
				switch k := i - 500; { // each alone, and between others
				case k > len(odd):
					pieces = cut(rng, []byte(r.ordinary(rng)+odd[k-len(odd)-1]+r.ordinary(rng)+goodbye))
				case k > 0:
					pieces = [][]byte{[]byte(odd[k-1] + goodbye)}
				}
				answers.Add(int64(r.agree(t, pieces)))
			}
		})
	}
	work.Wait()
	if _, n := r.hit.hot.Size(); n == 0 || answers.Load() < 2000 && !t.Failed() {
		t.Errorf("%d answers, %d pages kept: nothing was compared", answers.Load(), n)
	}
	t.Logf("%d answers were compared", answers.Load())
}

// FuzzLane sends bytes of any kind.
func FuzzLane(f *testing.F) {
	r := newRivals(f)
	for i, odd := range r.oddities() {
		if len(odd) < 1000 {
			f.Add([]byte(odd), uint16(i*7))
		}
	}
	f.Add([]byte(smuggled+smuggled+goodbye), uint16(70))
	f.Fuzz(func(t *testing.T, all []byte, at uint16) {
		if len(all) > 8<<10 {
			t.Skip()
		}
		all = append(slices.Clone(all), goodbye...)
		n := int(at) % len(all)
		if n == 0 {
			r.agree(t, [][]byte{all})
			return
		}
		r.agree(t, [][]byte{all[:n], all[n:]})
	})
}
