package gateway

import (
	"context"
	"maps"
	"time"
)

// finish has the connections in HTTP/1 end, each once it has carried what was asked for on
// it, and returns when they have or ctx ends. What net/http does to stop a server would
// close a connection whose request it has just read. Clients in HTTP/2 are given the time
// to go by themselves.
func (l *wires) finish(ctx context.Context) {
	end := time.Now().Add(lastCall)
	for w := range l.all() {
		if w.version.Load() != 2 {
			w.reads.last()
		}
	}
	tick := time.NewTicker(lastCall / 20)
	defer tick.Stop()
	for l.waits(time.Now().Before(end)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// waits reports whether a connection is open in HTTP/1, or in HTTP/2 if those count.
func (l *wires) waits(http2 bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := range l.open {
		if http2 || w.version.Load() != 2 {
			return true
		}
	}
	return false
}

// goAway asks the clients in HTTP/2 to send their next requests elsewhere.
func (l *wires) goAway() {
	for w := range l.all() {
		if w.version.Load() == 2 {
			go func() { // it may be writing, to a slow client
				w.writing.Lock()
				defer w.writing.Unlock()
				w.goAway()
			}()
		}
	}
}

// all returns the connections that are open now.
func (l *wires) all() map[*wire]struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.open)
}

// isHTTP2 reports whether the server speaks HTTP/2 on this connection; p is what it is
// about to write. Its first frame is a short one (RFC 9113, section 3.4), and so begins
// with a zero, where HTTP/1 begins with its name.
func (w *wire) isHTTP2(p []byte) bool {
	v := w.version.Load()
	if v == 0 && len(p) > 0 {
		if v = 1; p[0] == 0 {
			v = 2
		}
		w.version.Store(v)
	}
	return v == 2
}

// writeFrames writes what an HTTP/2 server says.
func (w *wire) writeFrames(p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	n, err := w.write(p)
	w.frames.pass(p[:n])
	if err == nil {
		w.goAway()
	}
	return n, err
}

// goAwaySoon is a GOAWAY frame that refuses no stream: its last stream is the last that
// there can be, and its code NO_ERROR (RFC 9113, section 6.8).
const goAwaySoon = "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x00\x00\x00"

// goAway says, once, that no further request should be sent; those that are sent are
// answered. net/http's own GOAWAY, which comes later, drops requests that are on their way.
// A connection that has answered nothing yet may still bring its first request. The caller
// holds writing.
func (w *wire) goAway() {
	if !w.from.draining.Load() || w.frames.told || !w.frames.answered || !w.frames.between() {
		return
	}
	w.frames.told = true
	if _, err := w.write([]byte(goAwaySoon)); err != nil {
		_ = w.Conn.Close() // half a frame is out
	}
}

// frames follows what was written in HTTP/2, to know where a frame may be put in between
// (RFC 9113, sections 4.1 and 6.10).
type frames struct {
	head     [9]byte
	have     int  // bytes of head
	payload  int  // bytes that are still to come
	open     bool // more fields of a header are to come, and nothing else may
	answered bool // there was a header
	told     bool // a GOAWAY was put in between
}

const (
	frameHeaders      = 0x1
	frameContinuation = 0x9
	flagEndHeaders    = 0x4
)

func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		if f.payload > 0 {
			n := min(f.payload, len(p))
			f.payload -= n
			p = p[n:]
			continue
		}
		n := copy(f.head[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have < len(f.head) {
			return
		}
		f.have = 0
		f.payload = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
		if kind := f.head[3]; kind == frameHeaders || kind == frameContinuation {
			f.open, f.answered = f.head[4]&flagEndHeaders == 0, true
		}
	}
}

func (f *frames) between() bool { return f.have == 0 && f.payload == 0 && !f.open }
