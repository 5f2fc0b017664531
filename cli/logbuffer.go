package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	logBuffer = 64 << 10               // bytes that are written at once
	logDelay  = 250 * time.Millisecond // how long a line may wait for others
)

// bufferedLog collects log lines, because the access log has one for each request
// and a system call for each of them costs more than making the line. A line that
// is more than information goes out at once, with everything before it; the others
// wait for at most logDelay.
type bufferedLog struct {
	mu     sync.Mutex
	out    io.Writer
	buf    bytes.Buffer
	timer  *time.Timer // runs while something waits
	urgent bool        // the next line must not wait
}

// Write implements [io.Writer]. A failed write loses the lines, as without a buffer.
func (l *bufferedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len()+len(line) > logBuffer {
		l.flush()
	}
	l.buf.Write(line)
	switch {
	case l.urgent || l.buf.Len() >= logBuffer:
		l.flush()
	case l.timer == nil:
		l.timer = time.AfterFunc(logDelay, l.Flush)
	}
	return len(line), nil
}

// Flush writes what waits.
func (l *bufferedLog) Flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
}

// flush writes what waits. The caller holds mu.
func (l *bufferedLog) flush() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.buf.Len() > 0 {
		_, _ = l.out.Write(l.buf.Bytes())
		l.buf.Reset()
	}
	l.urgent = false
}

// hurry has the next line written at once.
func (l *bufferedLog) hurry() {
	l.mu.Lock()
	l.urgent = true
	l.mu.Unlock()
}

// promptHandler is a handler whose lines go to a bufferedLog. Warnings and errors,
// and everything that is said seldom, are seen at once; request lines are not.
type promptHandler struct {
	slog.Handler
	log *bufferedLog
}

func (h promptHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelInfo || r.Message != "request" {
		h.log.hurry()
	}
	return h.Handler.Handle(ctx, r)
}

func (h promptHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return promptHandler{h.Handler.WithAttrs(attrs), h.log}
}

func (h promptHandler) WithGroup(name string) slog.Handler {
	return promptHandler{h.Handler.WithGroup(name), h.log}
}
