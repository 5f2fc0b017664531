package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// readDeadline is the deadline for reading from a connection, as net/http sets it:
// six times for each request, mostly without reading in between, and each time the
// runtime moves a timer. The connection is only told when a read needs it: one that
// is due earlier than was asked for may stay, and when it fires, reading goes on.
type readDeadline struct {
	conn net.Conn

	mu      sync.Mutex
	asked   time.Time // zero: none
	armed   time.Time // what the connection was told; zero: none
	reading int       // calls of Read under way
	silent  bool      // nothing was read since the last answer
	over    time.Time // when the connection ends if it is silent; zero: never
	looked  bool      // once more, when it was over
}

// lastCall is for how long a connection that ends is still listened to: a request may be
// on its way, as a new connection's first, or sent when the last answer came.
const lastCall = 200 * time.Millisecond

// last has the connection end, for whoever reads it, after lastCall in which nothing was
// read: now, or when the request that is being read or answered is over.
func (d *readDeadline) last() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = time.Now().Add(lastCall)
	if d.reading > 0 {
		_ = d.arm()
	}
}

// idle says that the last request was answered.
func (d *readDeadline) idle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = true
	if !d.over.IsZero() {
		d.over, d.looked = time.Now().Add(lastCall), false
	}
}

// due is when a read has to end. The caller holds mu.
func (d *readDeadline) due() time.Time {
	if d.silent && !d.over.IsZero() && (d.asked.IsZero() || d.over.Before(d.asked)) {
		return d.over
	}
	return d.asked
}

// set asks for another deadline. A read under way is bound by it at once.
func (d *readDeadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = t
	if d.reading == 0 {
		return nil
	}
	return d.arm()
}

// arm tells the connection of the deadline, unless it knows one that fires in time,
// and in the future. The caller holds mu.
func (d *readDeadline) arm() error {
	due := d.due()
	if d.armed.Equal(due) {
		return nil
	}
	if !d.armed.IsZero() && (due.IsZero() || d.armed.Before(due)) && time.Until(d.armed) > 0 {
		return nil
	}
	d.armed = due
	return d.conn.SetReadDeadline(due)
}

// begin is called before the connection is read from, again when a deadline fired.
// The error is of the deadline that was asked for, or io.EOF.
func (d *readDeadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.asked.IsZero() && time.Until(d.asked) <= 0 {
		return os.ErrDeadlineExceeded
	}
	if d.silent && !d.over.IsZero() && time.Until(d.over) <= 0 {
		if d.looked {
			return io.EOF
		}
		// On a busy machine, something may be there that nobody had the time to read.
		d.looked, d.over = true, time.Now().Add(lastCall/20)
	}
	err := d.arm()
	if err == nil {
		d.reading++
	}
	return err
}

// end is called after n bytes were read.
func (d *readDeadline) end(n int) {
	d.mu.Lock()
	d.reading--
	if n > 0 {
		d.silent = false
	}
	d.mu.Unlock()
}

// busy says that the next request has begun already.
func (d *readDeadline) busy() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silent = false
}

// Read reads from the connection until the deadline.
func (d *readDeadline) Read(p []byte) (int, error) {
	return d.do(func() (int, error) { return d.conn.Read(p) })
}

// do has read read from the connection until the deadline.
func (d *readDeadline) do(read func() (int, error)) (int, error) {
	for {
		if err := d.begin(); err != nil {
			return 0, err
		}
		n, err := read()
		d.end(n)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}
