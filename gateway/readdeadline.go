package gateway

import (
	"errors"
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
	if d.armed.Equal(d.asked) {
		return nil
	}
	if !d.armed.IsZero() && (d.asked.IsZero() || d.armed.Before(d.asked)) && time.Until(d.armed) > 0 {
		return nil
	}
	d.armed = d.asked
	return d.conn.SetReadDeadline(d.asked)
}

// begin is called before the connection is read from, again when a deadline fired.
// The error is of the deadline that was asked for.
func (d *readDeadline) begin() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.asked.IsZero() && time.Until(d.asked) <= 0 {
		return os.ErrDeadlineExceeded
	}
	err := d.arm()
	if err == nil {
		d.reading++
	}
	return err
}

func (d *readDeadline) end() {
	d.mu.Lock()
	d.reading--
	d.mu.Unlock()
}

// Read reads from the connection until the deadline.
func (d *readDeadline) Read(p []byte) (int, error) {
	for {
		if err := d.begin(); err != nil {
			return 0, err
		}
		n, err := d.conn.Read(p)
		d.end()
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}
