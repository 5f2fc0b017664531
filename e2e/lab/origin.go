package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
)

// Origin is a trustless HTTP gateway on loopback (GET /ipfs/CID?format=raw) that
// counts what it is asked for, and misbehaves on demand. It is safe for concurrent
// use.
type Origin struct {
	blocks map[string][]byte

	mu      sync.Mutex
	addr    string
	server  *http.Server // nil while it is off
	fetched map[string]int
	total   int
	changed chan struct{} // closed at the next fetch
	delay   time.Duration
	status  int  // instead of 200
	lying   bool // about the bytes
}

// NewOrigin starts an origin that has the blocks of the sites. It listens on
// 127.0.0.1, or on the given address instead.
func NewOrigin(addr string, sites ...*Site) (*Origin, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	o := &Origin{blocks: map[string][]byte{}, addr: addr, fetched: map[string]int{}, changed: make(chan struct{})}
	for _, s := range sites {
		for hash, data := range s.Blocks {
			o.blocks[hash] = data
		}
	}
	return o, o.On()
}

// URL returns where the origin is asked.
func (o *Origin) URL() string { return "http://" + o.addr }

// Port returns the port that the origin listens on.
func (o *Origin) Port() string {
	_, port, _ := net.SplitHostPort(o.addr)
	return port
}

// On has the origin listen, again on the same address if it was off.
func (o *Origin) On() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.server != nil {
		return nil
	}
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	o.addr = l.Addr().String()
	o.server = &http.Server{Handler: o}
	go func(s *http.Server) { _ = s.Serve(l) }(o.server)
	return nil
}

// Off closes the listener and every connection: nobody is there any more.
func (o *Origin) Off() {
	o.mu.Lock()
	server := o.server
	o.server = nil
	o.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
}

// Delay has each answer wait.
func (o *Origin) Delay(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.delay = d
}

// Fail has each answer be an error with this status; 0 ends that.
func (o *Origin) Fail(status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status = status
}

// Lie has each answer carry other bytes than were asked for, or no longer.
func (o *Origin) Lie(lying bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lying = lying
}

// ServeHTTP implements [http.Handler].
func (o *Origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, found := strings.CutPrefix(r.URL.Path, "/ipfs/")
	c, err := cid.Decode(name)
	if !found || err != nil || r.Method != http.MethodGet || r.URL.Query().Get("format") != "raw" {
		http.Error(w, "expected GET /ipfs/CID?format=raw", http.StatusBadRequest)
		return
	}
	delay, status, lying := o.count(c)
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
	}
	data, ok := o.blocks[string(c.Hash())]
	switch {
	case status != 0:
		http.Error(w, "out of order", status)
		return
	case !ok:
		http.NotFound(w, r)
		return
	case lying:
		data = append([]byte("not "), data...)
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.raw")
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	_, _ = w.Write(data)
}

func (o *Origin) count(c cid.Cid) (delay time.Duration, status int, lying bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fetched[string(c.Hash())]++
	o.total++
	close(o.changed)
	o.changed = make(chan struct{})
	return o.delay, o.status, o.lying
}

// Fetches returns how often the origin was asked, and for how many different blocks.
func (o *Origin) Fetches() (total, unique int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.total, len(o.fetched)
}

// Ratio returns the fetches for each different block that was asked for.
func (o *Origin) Ratio() float64 {
	total, unique := o.Fetches()
	return float64(total) / float64(max(unique, 1))
}

// Reset starts counting anew.
func (o *Origin) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total = 0
	clear(o.fetched)
}

// Wait returns when the origin has been asked for so many different blocks.
func (o *Origin) Wait(ctx context.Context, unique int) error {
	for {
		o.mu.Lock()
		enough, changed := len(o.fetched) >= unique, o.changed
		o.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d blocks to be fetched from the origin: %w", unique, ctx.Err())
		}
	}
}

// Close ends the origin.
func (o *Origin) Close() { o.Off() }
