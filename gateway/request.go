package gateway

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// Blocks that path resolution reads again and again are remembered for the
// length of a request: boxo resolves each prefix of a path from the root, and an
// edge whose cache is full must not fetch the root once per path segment.
const (
	rememberBlocks = 64
	rememberBytes  = 2 << 20
)

// requestRecord is what is known about one request. It travels in the request's
// context, down to blockService, and is what the headers, the metrics and the
// access log are made from.
type requestRecord struct {
	start  time.Time
	sites  *siteTable
	client netip.Addr // who asks, past the trusted proxies
	label  string     // the metrics' site label
	walk   bool       // a walk of a site's tree, not a visitor
	host   string     // what was asked for, past the trusted proxies, as it was written
	moves  uint64     // how often sites' content had moved when the request came in
	bySite bool       // the policy allows it because a site has it, see guard

	head bool // HEAD: nobody reads what an answer has in it
	view bool // a value of dag-cbor or dag-json would be shown as a page
	list bool // a folder would be listed, and not redirected to
	// placed are its places for what is made of the content, in bytes. Only the request's
	// own goroutine uses it.
	placed map[*places]int64

	answering atomic.Bool // the first byte is on its way
	broken    atomic.Bool // what is being sent cannot be had to its end

	mu        sync.Mutex
	blocks    [len(block.Sources)]sourceCount
	originEnd time.Time     // until when origin waiting is counted
	origin    time.Duration // time spent waiting for the origin
	failure   *failure
	nameErr   error // why a DNSLink lookup failed, for a host that is no site
	remember  map[cid.Cid]blocks.Block
	heldBytes int  // by remember
	admitted  bool // holds a place among the misses
	ended     bool

	// Where the answer leads, if it is a redirect; see redirects.go.
	query    string // as it was asked, with its question mark
	location string // by a rule of the site; empty for the redirects that boxo makes

	// What boxo read to answer; see capture.go.
	contentPath string
	index       []cid.Cid    // the index blocks that were read since the last step
	passed      []cid.Cid    // the blocks on the paths that were followed
	resolved    string       // the content path without names
	ruled       bool         // there is nothing at it, and the site's rules were asked
	leaf        []byte       // the raw block that was read last
	files       []openedFile // what was opened, in order
	name        nameAnswer
}

// openedFile is what a content path led to.
type openedFile struct {
	cid   cid.Cid
	dated bool // it says itself when it was changed
}

// nameAnswer is what a mutable content path led to.
type nameAnswer struct {
	asked path.Path
	root  path.ImmutablePath
	ttl   time.Duration
	known bool
}

// viewed notes a block that was read from the disk and not kept.
func (r *requestRecord) viewed(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks[block.Disk].blocks++
	r.blocks[block.Disk].bytes += uint64(size)
}

func (r *requestRecord) lastLeaf() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaf
}

// opened notes that boxo read what lies at the end of a path.
func (r *requestRecord) opened(md bgw.ContentPathMetadata) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = append(r.files, openedFile{md.LastSegment.RootCid(), !md.ModTime.IsZero()})
}

// dated reports whether content that was opened says itself when it was changed.
func (r *requestRecord) dated() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.files, func(f openedFile) bool { return f.dated })
}

// named notes where a mutable content path leads.
func (r *requestRecord) named(p path.Path, root path.ImmutablePath, ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name = nameAnswer{p, root, ttl, true}
}

type sourceCount struct{ blocks, bytes uint64 }

type recordKey struct{}

func withRecord(ctx context.Context, r *requestRecord) context.Context {
	return context.WithValue(ctx, recordKey{}, r)
}

// recordOf returns the request's record. Code that runs outside a request gets
// one that nobody reads.
func recordOf(ctx context.Context) *requestRecord {
	if r, ok := ctx.Value(recordKey{}).(*requestRecord); ok {
		return r
	}
	return &requestRecord{start: time.Now(), sites: &siteTable{}}
}

// fetched notes a block and where it came from.
func (r *requestRecord) fetched(b blocks.Block, src block.Source, begin, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if int(src) < len(r.blocks) {
		r.blocks[src].blocks++
		r.blocks[src].bytes += uint64(len(b.RawData()))
	}
	if src == block.Origin {
		// Fetches overlap; time that two of them wait is counted once.
		if begin.Before(r.originEnd) {
			begin = r.originEnd
		}
		if end.After(begin) {
			r.origin += end.Sub(begin)
			r.originEnd = end
		}
	}
	r.keep(b)
	r.readIndex(b.Cid())
}

// keep remembers an index block, while there is room. Raw blocks are file
// content, which is read once. The caller holds r.mu.
func (r *requestRecord) keep(b blocks.Block) {
	size := len(b.RawData())
	if b.Cid().Prefix().Codec == cid.Raw {
		r.leaf = b.RawData()
	}
	if b.Cid().Prefix().Codec == cid.Raw || len(r.remember) >= rememberBlocks || r.heldBytes+size > rememberBytes {
		return
	}
	if r.remember == nil {
		r.remember = make(map[cid.Cid]blocks.Block)
	}
	r.remember[b.Cid()] = b
	r.heldBytes += size
}

// remembered returns a block that this request has read before.
func (r *requestRecord) remembered(c cid.Cid) (blocks.Block, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.remember[c]
	if ok {
		r.readIndex(c)
	}
	return b, ok
}

// failed keeps the first failure: later ones follow from it.
func (r *requestRecord) failed(f *failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = f
	}
}

// brokeOff notes that what the request reads breaks off here. It returns the error that
// says so.
func (r *requestRecord) brokeOff(f *failure) error {
	r.failed(f)
	r.broken.Store(true)
	return f.forBoxo()
}

func (r *requestRecord) firstFailure() *failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// farthest returns the farthest source that was needed so far; none is true when
// no block was needed.
func (r *requestRecord) farthest() (src block.Source, none bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	none = true
	for s, n := range r.blocks {
		if n.blocks > 0 {
			src, none = block.Source(s), false
		}
	}
	return src, none
}

// cacheLabel is the metrics' cache label.
func (r *requestRecord) cacheLabel() string {
	src, none := r.farthest()
	switch {
	case none:
		return "none"
	case src == block.Memory:
		return "hit"
	}
	return src.String()
}

// cacheStatus is the Cache-Status header (RFC 9211).
func (r *requestRecord) cacheStatus() string {
	switch label := r.cacheLabel(); label {
	case "none":
		return "shoal; detail=none"
	case "hit":
		return "shoal; hit"
	default:
		return "shoal; fwd=uri-miss; detail=" + label
	}
}

// counts returns a copy of what was read, and how long the origin was waited for.
func (r *requestRecord) counts() ([len(block.Sources)]sourceCount, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.blocks, r.origin
}

// deadline is when waiting for the next block must end: until the first byte
// everything together has limit, afterwards each block has.
func (r *requestRecord) deadline(limit time.Duration) time.Time {
	if r.walk || r.answering.Load() {
		return time.Now().Add(limit)
	}
	return r.start.Add(limit)
}
