package gateway

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// countedDeadlines counts how often the connection is told of a deadline.
type countedDeadlines struct {
	net.Conn
	told int
}

func (c *countedDeadlines) SetReadDeadline(t time.Time) error {
	c.told++
	return c.Conn.SetReadDeadline(t)
}

func deadlinePair(t *testing.T) (*readDeadline, *countedDeadlines, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	conn := &countedDeadlines{Conn: near}
	return &readDeadline{conn: conn}, conn, far
}

func TestReadsEndWhenTheLastDeadlineSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, conn, far := deadlinePair(t)
		begin := time.Now()
		_ = d.set(begin.Add(time.Second))
		go func() { _, _ = far.Write([]byte("x")) }()
		if n, err := d.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		// The connection goes on believing in one second; nobody may notice.
		_ = d.set(time.Time{})
		_ = d.set(begin.Add(3 * time.Second))
		if conn.told != 1 {
			t.Errorf("the connection was told of %d deadlines, want 1", conn.told)
		}
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		var timeout net.Error
		if _, err := d.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("a read after the deadline: %v", err)
		}
		// An earlier one than the connection knows counts, too.
		_ = d.set(time.Now().Add(time.Hour))
		go func() { _, _ = far.Write([]byte("x")) }()
		_, _ = d.Read(make([]byte, 1))
		begin = time.Now()
		_ = d.set(begin.Add(time.Minute))
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

func TestReadUnderWayIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, far := deadlinePair(t)
		_ = d.set(time.Now().Add(time.Second))
		go func() { _, _ = far.Write([]byte("x")) }()
		_, _ = d.Read(make([]byte, 1))
		_ = d.set(time.Time{})
		read := make(chan error)
		go func() {
			_, err := d.Read(make([]byte, 1))
			read <- err
		}()
		time.Sleep(5 * time.Second) // past what the connection was told of
		synctest.Wait()
		select {
		case err := <-read:
			t.Fatalf("a read without a deadline ended: %v", err)
		default:
		}
		_ = d.set(time.Unix(1, 0)) // as net/http does
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		_ = d.set(time.Time{})
		go func() { _, _ = far.Write([]byte("y")) }()
		if n, err := d.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}
