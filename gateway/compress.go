package gateway

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// form is content in a coding.
type form struct {
	entry
	coding coding
	body   []byte // nil: it is not worth it
	size   int64  // of the content as it is
	// head is the ready part of a response's head: Content-Encoding and -Length.
	head []byte
	// better says that the form was made quickly, and a smaller one can be made.
	better bool
	sent   atomic.Uint32 // how often, while better
}

func newForm(c coding, body []byte, size int64, better bool) *form {
	f := &form{coding: c, body: body, size: size, better: better && body != nil && size <= maxBest && levels[best][c] >= 0}
	f.head = appendField(nil, "Content-Encoding", codings[c].name)
	f.head = appendField(f.head, "Content-Length", strconv.Itoa(len(body)))
	return f
}

// cost is what keeping the form takes, in bytes.
func (f *form) cost() int64 {
	const overhead = 384 // the struct, a bucket's link, the head
	return overhead + int64(cap(f.body)) + int64(len(f.uri))
}

const (
	// bestAfter is how often a form is sent before the best one is made.
	bestAfter = 64
	// maxBest is the largest content, in bytes, whose best form is made: it takes brotli
	// 0.2 s. For 1 MiB it would be 2 s and 60 MiB of memory.
	maxBest = 256 << 10
	// maxQueued bounds what waits for the worker. More is asked for again by the
	// requests to come.
	maxQueued = 256
)

// compressor makes forms: quick ones within requests, at most as many at once as
// half of the processors, and the others one by one in a goroutine of its own, which
// rests after each for as long as it worked. Nobody waits for a form that somebody
// else makes, or for a place to make it: there is the content as it is. (Only who
// does not take that waits.)
type compressor struct {
	ctx     context.Context
	keep    func() *hotStore // nil while nothing is kept
	metrics *metrics
	log     *slog.Logger
	slots   chan struct{}
	pools   [numEfforts][numCodings]sync.Pool // of encoder

	running sync.WaitGroup
	mu      sync.Mutex // guards what follows
	making  map[formKey]chan struct{}
	queue   []compression
	working bool
	closed  bool
}

// formKey names a form: the content's CID, in bytes, and the coding.
type formKey struct {
	content string
	coding  coding
}

// compression is a form to be made by the worker.
type compression struct {
	formKey
	effort     effort
	size       int64
	read       func(context.Context) ([]byte, error)
	generation uint64 // of the store
}

func newCompressor(ctx context.Context, keep func() *hotStore, m *metrics, log *slog.Logger) *compressor {
	return &compressor{
		ctx: ctx, keep: keep, metrics: m, log: log,
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		making: map[formKey]chan struct{}{},
	}
}

// kept returns the form of a content in a coding, if it is there.
func (c *compressor) kept(key formKey, size int64) *form {
	keep := c.keep()
	if keep == nil || key.content == "" {
		return nil
	}
	f := keep.form(key.content, key.coding)
	if f == nil || f.size != size {
		return nil
	}
	f.mark()
	return f
}

// now makes a form quickly; nil when others are at it, unless the caller insists on
// having one. Content that has no name (key.content is empty) is not kept.
func (c *compressor) now(ctx context.Context, key formKey, body []byte, insist bool) *form {
	for key.content != "" {
		others := c.begin(key)
		if others == nil {
			defer c.end(key)
			break
		}
		if !insist {
			return nil
		}
		select {
		case <-others:
		case <-ctx.Done():
			return nil
		}
		if f := c.kept(key, int64(len(body))); f != nil {
			return f
		}
	}
	if !c.admit(ctx, insist) {
		return nil
	}
	defer func() { <-c.slots }()
	var generation uint64
	keep := c.keep()
	if keep != nil {
		generation = keep.generation.Load()
	}
	f := newForm(key.coding, c.encode(ctx, key.coding, quick, body), int64(len(body)), true)
	if keep != nil && key.content != "" && ctx.Err() == nil {
		keep.addForm(key.content, f, generation)
	}
	return f
}

// admit takes a place among those who encode.
func (c *compressor) admit(ctx context.Context, wait bool) bool {
	select {
	case c.slots <- struct{}{}:
		return true
	default:
	}
	if !wait {
		return false
	}
	select {
	case c.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin reserves a form for the caller, who calls end. If it is reserved, begin
// returns what is closed by then.
func (c *compressor) begin(key formKey) (others chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if others = c.making[key]; others == nil {
		c.making[key] = make(chan struct{})
	}
	return others
}

func (c *compressor) end(key formKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.making[key])
	delete(c.making, key)
}

// later has the worker make a form. It does nothing when somebody is at it, or too
// much waits already.
func (c *compressor) later(job compression) {
	keep := c.keep()
	if keep == nil {
		return
	}
	job.generation = keep.generation.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.making[job.formKey] != nil || len(c.queue) >= maxQueued || c.closed {
		return
	}
	c.making[job.formKey] = make(chan struct{})
	c.queue = append(c.queue, job)
	if !c.working {
		c.working = true
		c.running.Go(c.work)
	}
}

// work makes what is queued, and ends when nothing is.
func (c *compressor) work() {
	for {
		job, ok := c.next()
		if !ok {
			return
		}
		begin := time.Now()
		c.run(job)
		c.end(job.formKey)
		rest := time.NewTimer(time.Since(begin))
		select {
		case <-rest.C:
		case <-c.ctx.Done():
			rest.Stop()
		}
	}
}

func (c *compressor) next() (job compression, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || c.closed {
		c.working = false
		return compression{}, false
	}
	job = c.queue[0]
	c.queue = c.queue[1:]
	return job, true
}

func (c *compressor) run(job compression) {
	keep := c.keep()
	if keep == nil {
		return
	}
	body, err := job.read(c.ctx)
	if err != nil || int64(len(body)) != job.size {
		return // what can be read next time is encoded next time
	}
	f := newForm(job.coding, c.encode(c.ctx, job.coding, job.effort, body), job.size, false)
	if c.ctx.Err() != nil {
		return
	}
	if f.cost()+int64(len(job.content)) > keep.largest() {
		f = newForm(job.coding, nil, job.size, false) // too large to be kept: do not try again
	}
	old := keep.form(job.content, job.coding)
	if old != nil && old.body != nil && (f.body == nil || len(old.body) <= len(f.body)) {
		f = newForm(job.coding, old.body, job.size, false)
	}
	keep.addForm(job.content, f, job.generation)
}

// close waits for the worker. The context must have ended.
func (c *compressor) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
