package coding

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// effort is how hard a coding is tried. On documentation in HTML, files of 80 KB on
// average, quick took 1.4 ms with brotli, 0.8 with zstd and 0.4 with gzip, and best
// 33 ms with brotli, for 12 % less, and 1.5 ms with gzip, for 5 % less. (Brotli's last
// level takes 123 ms for 3 % less than that; zstd's best is 4 % smaller and takes a
// table of 32 MiB.) So a request that finds no form can wait for a quick one, and the
// best is made beside requests, for what is sent often.
type effort uint8

const (
	quick effort = iota
	best
	numEfforts
)

func (e effort) String() string { return [...]string{"quick", "best"}[e] }

// levels are the codecs' own numbers; -1: there is no such effort.
var levels = [numEfforts][numCodings]int{
	quick: {brotliCoding: 5, zstdCoding: int(zstd.SpeedBetterCompression), gzipCoding: 6},
	best:  {brotliCoding: 10, zstdCoding: -1, gzipCoding: 9},
}

const (
	// leastGain is what a form must be smaller than the content, in bytes: what its
	// header adds.
	leastGain = 64
	// zstdWindow is the largest that browsers take (RFC 9659), in bytes.
	zstdWindow = 8 << 20
	// Windows of brotli, as powers of two. An encoder takes many times its window, so
	// only those with the common one are used again, and none has the largest, which
	// would make megabytes of text 1 % smaller.
	minWindow, commonWindow, maxWindow = 16, 18, 20
)

// encoder is what the codecs have in common.
type encoder interface {
	io.WriteCloser
	Reset(io.Writer)
}

var errNotSmaller = errors.New("the encoded form is not smaller")

// encode returns the encoded form; nil if it is not smaller, or ctx ended.
func (c *Coder) encode(ctx context.Context, to Coding, e effort, body []byte) (encoded []byte) {
	begin := time.Now()
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("panic while encoding content", "coding", codings[to].name, "bytes", len(body), "panic", p)
			encoded = nil
		}
		c.observe(codings[to].name, e.String(), time.Since(begin))
	}()
	out := &smaller{most: len(body) - leastGain}
	if to == zstdCoding {
		return out.all(c.encodeZstd(e, body))
	}
	w, reuse := c.encoder(to, e, len(body))
	w.Reset(out)
	const step = 64 << 10 // between looks at ctx
	for rest := body; len(rest) > 0; {
		n := min(step, len(rest))
		if _, err := w.Write(rest[:n]); err != nil || ctx.Err() != nil {
			return nil
		}
		rest = rest[n:]
	}
	if w.Close() != nil {
		return nil
	}
	if reuse {
		c.pools[e][to].Put(w)
	}
	return out.bytes()
}

// encoder returns an encoder for so many bytes, and whether it is worth keeping.
func (c *Coder) encoder(to Coding, e effort, size int) (w encoder, reuse bool) {
	window := min(max(minWindow, bits.Len(uint(size))), maxWindow)
	if reuse = to != brotliCoding || e == quick && window <= commonWindow; reuse {
		if w, _ = c.pools[e][to].Get().(encoder); w != nil {
			return w, true
		}
		window = commonWindow
	}
	if to == brotliCoding {
		return brotli.NewWriterOptions(nil, brotli.WriterOptions{Quality: levels[e][to], LGWin: window}), reuse
	}
	w, err := gzip.NewWriterLevel(nil, levels[e][to])
	if err != nil {
		panic(fmt.Sprintf("gzip level %d: %v", levels[e][to], err)) // levels are constants
	}
	return w, reuse
}

// encodeZstd encodes in one piece: a frame that says how large the content is needs
// no larger a window to be decoded.
func (c *Coder) encodeZstd(e effort, body []byte) []byte {
	pool := &c.pools[e][zstdCoding]
	w, _ := pool.Get().(*zstd.Encoder)
	if w == nil {
		var err error
		w, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevel(levels[e][zstdCoding])),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(fmt.Sprintf("zstd: %v", err)) // the options are constants
		}
	}
	defer pool.Put(w)
	return w.EncodeAll(body, make([]byte, 0, len(body)/3))
}

// smaller takes bytes until there are too many.
type smaller struct {
	buffer bytes.Buffer
	most   int
}

func (s *smaller) Write(p []byte) (int, error) {
	if s.buffer.Len()+len(p) > s.most {
		return 0, errNotSmaller
	}
	return s.buffer.Write(p)
}

func (s *smaller) all(p []byte) []byte {
	if _, err := s.Write(p); err != nil {
		return nil
	}
	return s.bytes()
}

// bytes returns what was taken, in memory of its own size.
func (s *smaller) bytes() []byte { return bytes.Clone(s.buffer.Bytes()) }
