package pin

import (
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// entry is what an edge says of one root. An empty status says that the edge has
// nothing to do with the root any more.
type entry struct {
	Root string `json:"root"`
	record.Report
}

// sum is the entry's part in a digest: the digest of a state is the XOR of the sums
// of its entries.
func (e *entry) sum() uint64 {
	if e.Status == "" {
		return 0
	}
	h := fnv.New64a()
	for _, s := range []string{e.Root, string(e.Status), strconv.FormatInt(e.Blocks, 10), strconv.FormatInt(e.Bytes, 10), e.Reason,
		strconv.FormatBool(e.Settled), strconv.FormatBool(e.Unfit)} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return h.Sum64()
}

const (
	// maxReason is how much of a reason siblings are told, in bytes.
	maxReason = 300
	// maxGone is how many roots that are gone an edge remembers, to tell those who do
	// not know yet. With more of them, everybody is told everything anew.
	maxGone = 10_000
	// pageBytes bounds what is told at once. A call takes 1 MiB.
	pageBytes = 512 << 10
)

// journal is what this edge has to tell: for each root the last word, in the order in
// which they came.
type journal struct {
	mu      sync.Mutex
	epoch   uint64 // of the numbering: another one after each start
	seq     uint64
	last    map[cid.Cid]*numbered
	order   []*numbered // by number; those that were overtaken are marked
	gone    int
	digest  uint64
	sites   []string
	changed chan struct{} // closed at the next change
}

type numbered struct {
	entry
	seq  uint64
	over bool // there is a later one
}

func newJournal() *journal {
	return &journal{epoch: rand.Uint64() | 1, last: map[cid.Cid]*numbered{}, changed: make(chan struct{})}
}

// set notes how far this edge is with a root.
func (j *journal) set(c cid.Cid, s record.Report) {
	if len(s.Reason) > maxReason {
		s.Reason = s.Reason[:maxReason] + "..."
	}
	s.Since, s.Verified = s.Since.Truncate(time.Millisecond), s.Verified.Truncate(time.Millisecond)
	e := entry{c.String(), s}
	j.mu.Lock()
	defer j.mu.Unlock()
	old := j.last[c]
	if old == nil && e.Status == "" || old != nil && old.entry == e || old != nil && old.Status == "" && e.Status == "" {
		return
	}
	if old != nil {
		old.over = true
		j.digest ^= old.sum()
		if old.Status == "" {
			j.gone--
		}
	}
	if e.Status == "" {
		e = entry{Root: e.Root}
		j.gone++
	}
	j.seq++
	n := &numbered{entry: e, seq: j.seq}
	j.last[c] = n
	j.order = append(j.order, n)
	j.digest ^= e.sum()
	j.tidy()
	j.wake()
}

// setSites notes where this edge's sites lead.
func (j *journal) setSites(roots []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if slices.Equal(j.sites, roots) {
		return
	}
	j.sites = roots
	j.seq++
	j.wake()
}

func (j *journal) wake() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// tidy drops what was overtaken, and too many that are gone.
func (j *journal) tidy() {
	if j.gone > maxGone {
		for c, n := range j.last {
			if n.Status == "" {
				n.over = true
				delete(j.last, c)
			}
		}
		j.gone = 0
		j.epoch++ // so that nobody misses that they are gone
	} else if len(j.order) < 2*len(j.last)+1024 {
		return
	}
	j.order = slices.DeleteFunc(j.order, func(n *numbered) bool { return n.over })
}

// message is what an edge tells a sibling: what changed between two numbers.
type message struct {
	Epoch   uint64   `json:"epoch"`
	Base    uint64   `json:"base"` // the sibling knows everything up to here; 0: nothing
	Seq     uint64   `json:"seq"`  // and after this, everything up to here
	Entries []entry  `json:"entries,omitempty"`
	Sites   []string `json:"sites,omitempty"`
	// Digest is that of all entries; only when this is the last page.
	Digest uint64 `json:"digest,omitempty"`
	Last   bool   `json:"last,omitempty"`
}

// since returns what a sibling has to be told who knows everything up to base, or a
// first page of it, and a channel that is closed when there is more.
func (j *journal) since(epoch, base uint64) (*message, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if epoch != j.epoch {
		base = 0
	}
	m := &message{Epoch: j.epoch, Base: base, Seq: j.seq, Last: true, Digest: j.digest, Sites: j.sites}
	first := sort.Search(len(j.order), func(i int) bool { return j.order[i].seq > base })
	size, told := 0, base
	for _, n := range j.order[first:] {
		if n.over {
			continue
		}
		if size > pageBytes {
			m.Last, m.Digest, m.Seq = false, 0, told
			break
		}
		m.Entries = append(m.Entries, n.entry)
		told = n.seq
		size += 256 + len(n.Root) + 6*len(n.Reason) // JSON may write a byte as six
	}
	return m, j.changed
}
