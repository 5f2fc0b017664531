//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is a connection in HTTP/2 on which everything can be said. One goroutine writes;
// what comes is counted, and settings are acknowledged.
type frames struct {
	net.Conn
	*http2.Framer
	writing sync.Mutex
	block   bytes.Buffer
	fields  *hpack.Encoder
	stream  uint32 // the last one
	headers atomic.Int64
	resets  atomic.Int64
	ended   chan struct{}
	goAway  atomic.Uint32 // its code and one
}

// speak2 connects with prior knowledge (RFC 9113, section 3.3).
func speak2(t *testing.T, to string, settings ...http2.Setting) *frames {
	t.Helper()
	c, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := &frames{Conn: c, Framer: http2.NewFramer(c, c), ended: make(chan struct{})}
	f.fields = hpack.NewEncoder(&f.block)
	if _, err := c.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	go f.read()
	return f
}

func (f *frames) read() {
	defer close(f.ended)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.HeadersFrame:
			f.headers.Add(1)
		case *http2.RSTStreamFrame:
			f.resets.Add(1)
		case *http2.GoAwayFrame:
			f.goAway.Store(uint32(frame.ErrCode) + 1)
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				f.writing.Lock()
				_ = f.WriteSettingsAck()
				f.writing.Unlock()
			}
		}
	}
}

// ask sends a request without a body and returns its stream.
func (f *frames) ask(host, path string, more ...hpack.HeaderField) (uint32, error) {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.block.Reset()
	for _, h := range append(requestFields(host, path), more...) {
		if err := f.fields.WriteField(h); err != nil {
			return 0, err
		}
	}
	if f.stream == 0 {
		f.stream = 1
	} else {
		f.stream += 2
	}
	block := f.block.Bytes()
	first := block[:min(len(block), 16<<10)]
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: f.stream, BlockFragment: first, EndHeaders: len(first) == len(block), EndStream: true})
	for rest := block[len(first):]; len(rest) > 0 && err == nil; {
		n := min(len(rest), 16<<10)
		err = f.WriteContinuation(f.stream, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	return f.stream, err
}

func requestFields(host, path string) []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: host}, {Name: ":path", Value: path},
	}
}

// left says what became of the connection.
func (f *frames) left(t *testing.T) {
	t.Helper()
	select {
	case <-f.ended:
		t.Logf("the connection was ended: %v", http2.ErrCode(f.goAway.Load()-1))
	default:
		t.Log("the connection is still open")
	}
}

// rapidResets opens streams and resets them at once (RFC 9113, section 10.5).
func (a *attacked) rapidResets(t *testing.T) {
	f := speak2(t, a.Gateway)
	paths := []string{a.page, "/ipfs/" + a.large[0].String() + "?format=raw", a.cut + "?format=tar", "/ipfs/" + a.root + "/media/"}
	opened := 0
	for i := range 20_000 {
		stream, err := f.ask("127.0.0.1", paths[i%len(paths)])
		if err == nil {
			f.writing.Lock()
			err = f.WriteRSTStream(stream, http2.ErrCodeCancel)
			f.writing.Unlock()
		}
		if err != nil {
			break // it was ended
		}
		opened++
	}
	t.Logf("%d streams", opened)
	f.left(t)
}

// endlessHeaders sends a header that has no end (RFC 9113, section 10.5.1): the connection
// is ended long before it has sent what would hurt.
func (a *attacked) endlessHeaders(t *testing.T) {
	f := speak2(t, a.Gateway)
	f.block.Reset()
	for _, h := range requestFields("127.0.0.1", a.page) {
		_ = f.fields.WriteField(h)
	}
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block.Bytes(), EndStream: true})
	sent := 0
	for end := time.Now().Add(patience / 3); err == nil && time.Now().Before(end); sent++ {
		f.block.Reset()
		for range 100 {
			_ = f.fields.WriteField(hpack.HeaderField{Name: "x-a", Value: strings.Repeat("x", 100), Sensitive: true})
		}
		err = f.WriteContinuation(1, false, f.block.Bytes())
	}
	if err == nil || sent > 10_000 {
		t.Errorf("%d frames of one header were taken", sent)
	}
	t.Logf("%d frames of one header", sent)
}

// controlFrames asks for answers to pings and settings that nobody reads (RFC 9113, section
// 10.5): they are not kept without bound.
func (a *attacked) controlFrames(t *testing.T) {
	c, err := net.Dial("tcp", a.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	_ = c.SetWriteDeadline(time.Now().Add(3 * time.Second))
	f := http2.NewFramer(c, nil)
	_, err = c.Write([]byte(http2.ClientPreface))
	err = errors.Join(err, f.WriteSettings())
	sent := 0
	for ; err == nil && sent < 400_000; sent++ {
		if err = f.WritePing(false, [8]byte{}); err == nil {
			err = f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(sent % 4096)})
		}
	}
	t.Logf("%d pings and settings: %v", sent, err)
	c.Close()
	// The table of fields grows and shrinks with what the client says.
	g := speak2(t, a.Gateway, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1<<32 - 1})
	for range 1000 {
		if _, err := g.ask("127.0.0.1", a.page); err != nil {
			break
		}
	}
	g.left(t)
}

// headerLists sends the largest lists of fields, of one field that is in the table many
// times over (RFC 7541, section 7.3): 431, or the connection ends.
func (a *attacked) headerLists(t *testing.T) {
	f := speak2(t, a.Gateway)
	cookie := hpack.HeaderField{Name: "x-cookie", Value: strings.Repeat("c", 3000)}
	many := make([]hpack.HeaderField, 10_000)
	for i := range many {
		many[i] = cookie
	}
	for range 200 {
		if _, err := f.ask("127.0.0.1", a.page, many...); err != nil {
			break
		}
	}
	f.left(t)
}

// manyClosedWindows asks for pages on streams whose window stays closed (RFC 9113, section
// 10.5).
func (a *attacked) manyClosedWindows(t *testing.T) {
	a.closedWindows(t, 60, 250, 0, func(int) string { return a.page })
}

// largeClosedWindows asks for a block of 1 MiB on each, one after the other: what is
// measured is what answers hold, and not what it takes to read so many blocks at once.
func (a *attacked) largeClosedWindows(t *testing.T) {
	a.closedWindows(t, 4, 100, 5*time.Millisecond, func(n int) string { return "/ipfs/" + a.large[n%len(a.large)].String() + "?format=raw" })
}

// closedWindows waits until each stream has its header, and a second longer.
func (a *attacked) closedWindows(t *testing.T, conns, streams int, pause time.Duration, path func(n int) string) {
	var all []*frames
	asked := 0
	for range conns {
		f := speak2(t, a.Gateway, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		all = append(all, f)
		for range streams {
			if _, err := f.ask("127.0.0.1", path(asked)); err != nil {
				break
			}
			asked++
			time.Sleep(pause)
		}
	}
	begun := func() (n int64) {
		for _, f := range all {
			n += f.headers.Load()
		}
		return n
	}
	for end := time.Now().Add(4 * time.Second); begun() < int64(asked) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(time.Second)
	t.Logf("%d streams, of which %d have a header", asked, begun())
	for _, f := range all {
		f.Close()
	}
}
