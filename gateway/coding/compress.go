package coding

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/gateway/hot"
)

// Form is content in a coding. It never changes.
type Form struct {
	coding Coding
	body   []byte // nil: it is not worth it
	size   int64  // of the content as it is
	// head is the ready part of a response's head: Content-Encoding and -Length.
	head []byte
	// better says that the form was made quickly, and a smaller one can be made.
	better bool
	sent   atomic.Uint32 // how often, while better
}

// Body is the encoded content.
func (f *Form) Body() []byte { return f.body }

// Name is the coding's, for Content-Encoding.
func (f *Form) Name() string { return codings[f.coding].name }

// Head has the lines of Content-Encoding and Content-Length in HTTP/1.1.
func (f *Form) Head() []byte { return f.head }

func newForm(c Coding, body []byte, size int64, better bool) *Form {
	f := &Form{coding: c, body: body, size: size, better: better && body != nil && size <= maxBest && levels[best][c] >= 0}
	f.head = fmt.Appendf(nil, "Content-Encoding: %s\r\nContent-Length: %d\r\n", codings[c].name, len(body))
	return f
}

// formCost is what keeping a form takes besides its body, in bytes.
const formCost = 192

// keepForm keeps a form of a content in place of the one before.
func keepForm(keep *hot.Store, content string, f *Form, generation uint64) {
	charge := formCost + int64(cap(f.body)+len(content))
	keep.Put(&hot.Entry{Space: codings[f.coding].space, Key: content, Value: f, Charge: charge}, generation)
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

// Coder makes forms: quick ones within requests, at most as many at once as
// half of the processors, and the others one by one in a goroutine of its own, which
// rests after each for as long as it worked. Nobody waits for a form that somebody
// else makes, or for a place to make it: there is the content as it is. (Only who
// does not take that waits.)
type Coder struct {
	ctx     context.Context
	keep    func() *hot.Store // nil while nothing is kept
	observe func(coding, effort string, took time.Duration)
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
	coding  Coding
}

// compression is a form to be made by the worker.
type compression struct {
	formKey
	effort     effort
	size       int64
	read       func(context.Context) ([]byte, error)
	generation uint64 // of the store
}

// New makes a coder. It keeps forms in the store that keep returns, nil for none, and tells
// observe of all work. The context must end before [Coder.Close].
func New(ctx context.Context, keep func() *hot.Store, observe func(coding, effort string, took time.Duration), log *slog.Logger) *Coder {
	return &Coder{
		ctx: ctx, keep: keep, observe: observe, log: log,
		slots:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		making: map[formKey]chan struct{}{},
	}
}

// kept returns the form of a content in a coding, if it is there.
func (c *Coder) kept(key formKey, size int64) *Form {
	if key.content == "" {
		return nil
	}
	e := c.keep().Find(codings[key.coding].space, key.content)
	if e == nil {
		return nil
	}
	if f, ok := e.Value.(*Form); ok && f.size == size {
		e.Mark()
		return f
	}
	return nil
}

// Content is what a form is made of.
type Content struct {
	// Name is the same for the same bytes; "" when the form is not to be kept.
	Name string
	Size int64
	// Now returns the bytes for the request, which waits for them; nil when it does not.
	// Later returns them in the background, when the request may be over.
	Now, Later func(context.Context) ([]byte, error)
}

// Choose returns the form to answer with; nil for the content as it is, whose bytes come
// along if they were read. The most preferred form is made, if that is possible at once.
// Otherwise another will do. What is sent often gets a smaller form in the background.
func (c *Coder) Choose(ctx context.Context, accept *Acceptance, content Content) (f *Form, body []byte) {
	for i, to := range accept.codings() {
		key := formKey{content.Name, to}
		f := c.kept(key, content.Size)
		switch {
		case f != nil || i > 0:
		case content.Now != nil:
			var err error
			if body, err = content.Now(ctx); err == nil { // an error comes up again
				f = c.now(ctx, key, body, !accept.plain)
			}
		case content.Name != "":
			c.later(compression{formKey: key, effort: quick, size: content.Size, read: content.Later})
		}
		if f == nil {
			continue
		}
		if f.body == nil {
			return nil, body
		}
		c.improve(f, content)
		return f, body
	}
	return nil, body
}

// improve has a smaller form made of what was sent often.
func (c *Coder) improve(f *Form, content Content) {
	if f.better && f.sent.Add(1)%bestAfter == 0 && content.Name != "" {
		c.later(compression{formKey: formKey{content.Name, f.coding}, effort: best, size: content.Size, read: content.Later})
	}
}

// now makes a form quickly; nil when others are at it, unless the caller insists on
// having one. Content that has no name (key.content is empty) is not kept.
func (c *Coder) now(ctx context.Context, key formKey, body []byte, insist bool) *Form {
	for key.content != "" {
		others := c.begin(key)
		if others == nil {
			defer c.end(key)
			if f := c.kept(key, int64(len(body))); f != nil {
				return f // made since the caller looked
			}
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
	keep := c.keep()
	generation := keep.Generation()
	f := newForm(key.coding, c.encode(ctx, key.coding, quick, body), int64(len(body)), true)
	if key.content != "" && ctx.Err() == nil {
		keepForm(keep, key.content, f, generation)
	}
	return f
}

// admit takes a place among those who encode.
func (c *Coder) admit(ctx context.Context, wait bool) bool {
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
func (c *Coder) begin(key formKey) (others chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if others = c.making[key]; others == nil {
		c.making[key] = make(chan struct{})
	}
	return others
}

func (c *Coder) end(key formKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.making[key])
	delete(c.making, key)
}

// later has the worker make a form. It does nothing when somebody is at it, or too
// much waits already.
func (c *Coder) later(job compression) {
	keep := c.keep()
	if keep == nil {
		return
	}
	job.generation = keep.Generation()
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
func (c *Coder) work() {
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

func (c *Coder) next() (job compression, ok bool) {
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

func (c *Coder) run(job compression) {
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
	if formCost+hot.Overhead+int64(cap(f.body)+len(job.content)) > keep.Largest() {
		f = newForm(job.coding, nil, job.size, false) // too large to be kept: do not try again
	}
	old := c.kept(job.formKey, job.size)
	if old != nil && old.body != nil && (f.body == nil || len(old.body) <= len(f.body)) {
		f = newForm(job.coding, old.body, job.size, false)
	}
	keepForm(keep, job.content, f, job.generation)
}

// Close waits for the worker. The context must have ended.
func (c *Coder) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
