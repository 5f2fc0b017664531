package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/gateway/sendqueue"
)

// lingered returns both ends of a connection of a lingering listener, whose client takes
// little unless it reads.
func lingered(t *testing.T) (*lingeringListener, net.Conn, *net.TCPConn) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells what was acknowledged")
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := linger(tcp)
	t.Cleanup(func() { _ = l.end() })
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	client := far.(*net.TCPConn)
	if err := client.SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := near.(*lingeringConn).SetWriteBuffer(1 << 20); err != nil {
		t.Fatal(err)
	}
	return l, near, client
}

// answer is more than a client's small buffer takes, and less than the edge's kernel does.
const answer = 192 << 10

func write(t *testing.T, near net.Conn) {
	t.Helper()
	_ = near.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if n, err := near.Write(make([]byte, answer)); n != answer || err != nil {
		t.Fatal(n, err)
	}
}

func (l *lingeringListener) lingering() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.closing)
}

// Everything is with the kernel, and the client has hardly read.
func TestAnAnswerIsWaitedFor(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	if err := near.Close(); err != nil { // and does not wait: nobody reads yet
		t.Fatal(err)
	}
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("written to after Close")
	}
	waited := make(chan error, 1)
	go func() { waited <- l.wait(t.Context()) }()
	if l.lingering() == 0 || sendqueue.Unacknowledged(near.(*lingeringConn).TCPConn) < answer/2 {
		t.Fatalf("%d bytes are to come, and nobody waits for that", sendqueue.Unacknowledged(near.(*lingeringConn).TCPConn))
	}
	select {
	case err := <-waited:
		t.Fatalf("not waited for: %v", err)
	default:
	}
	if n, err := io.Copy(io.Discard, client); n != answer || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// A message that was cut and whose end is that of the connection (RFC 9112, section 6.3)
// must not end in order: nothing lingers, and the client is told by a reset.
func TestACutMessageIsReset(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	if err := near.(interface{ SetLinger(int) error }).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	if n := l.lingering(); n != 0 {
		t.Errorf("%d connections linger", n)
	}
	if err := l.wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, client); !errors.Is(err, syscall.ECONNRESET) || n >= answer {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
}

// Any other time than 0 takes it back.
func TestAResetCanBeTakenBack(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	for _, seconds := range []int{0, -1} {
		if err := near.(*lingeringConn).SetLinger(seconds); err != nil {
			t.Fatal(err)
		}
	}
	_ = near.Close()
	if n, err := io.Copy(io.Discard, client); n != answer || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	if err := l.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// A client whose last bytes nobody has read: the kernel would answer a close with a
// reset, and throw away what is still to be sent (RFC 9112, section 9.6).
func TestUnreadBytesDoNotResetAnAnswer(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	if _, err := client.Write(make([]byte, 8<<10)); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	if _, err := client.Write(make([]byte, 8<<10)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, client); n != answer || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	_ = client.Close()
	if err := l.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// A client that has said its last word may still read.
func TestAHalfClosedClientIsWaitedFor(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	if n, err := io.CopyN(io.Discard, client, answer/3); err != nil {
		t.Fatal(n, err)
	}
	if l.lingering() != 1 {
		t.Error("nobody waits for the rest")
	}
	if n, err := io.Copy(io.Discard, client); n != answer-answer/3 || err != nil {
		t.Errorf("the client got %d bytes more, %v", n, err)
	}
	if err := l.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheWaitIsBounded(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	_ = near.Close()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.wait(over); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want an error that says whom it cut off", err)
	}
	if l.lingering() != 0 {
		t.Error("connections linger on")
	}
	_ = client.Close()
}

// Nobody is waited for who resets the connection, or has everything.
func TestNothingToWaitFor(t *testing.T) {
	t.Run("reset", func(t *testing.T) {
		l, near, client := lingered(t)
		write(t, near)
		_ = near.Close()
		_ = client.SetLinger(0)
		_ = client.Close()
		if err := l.wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("reset before", func(t *testing.T) {
		l, near, client := lingered(t)
		write(t, near)
		_ = client.SetLinger(0)
		_ = client.Close()
		for _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF); { // first it is told of the reset
			_, err = near.Read(make([]byte, 1))
		}
		_ = l.Close()
		_ = near.Close()
		if err := l.wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("idle", func(t *testing.T) {
		l, near, client := lingered(t)
		_ = l.Close()
		_ = near.Close()
		if err := l.wait(t.Context()); err != nil {
			t.Error(err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("the client read %d bytes, %v", n, err)
		}
	})
}

// net/http closes connections that somebody reads from.
func TestCloseEndsReads(t *testing.T) {
	l, near, client := lingered(t)
	write(t, near)
	read := make(chan error, 1)
	go func() {
		_, err := near.Read(make([]byte, 1))
		for errors.Is(err, os.ErrDeadlineExceeded) { // as readDeadline does
			_, err = near.Read(make([]byte, 1))
		}
		read <- err
	}()
	_ = near.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, client); n != answer || err != nil {
		t.Errorf("the client got %d bytes, %v", n, err)
	}
	if err := l.wait(t.Context()); err != nil {
		t.Error(err)
	}
}
