package placement

import (
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/ipfs/go-cid"
)

// AdmissionOptions configures an [Admission].
type AdmissionOptions struct {
	// DiskBytes is the capacity of the edge's block store.
	DiskBytes int64
	// HotShare is the largest share of the bytes written to disk that copies of
	// blocks at home elsewhere may take, at least 0 and less than 1.
	HotShare float64
	// Remembered is how many recently fetched blocks are remembered to recognise
	// one that is fetched again. Each costs 8 bytes.
	Remembered int
}

// DefaultAdmissionOptions leaves a fiftieth of what is written to hot copies. That is
// where a fleet still keeps as much from its origin as one LRU cache of its size would
// (bench/sim has the figures for other shares): each per cent more costs half a per
// cent of that, and answers a few more requests without asking a sibling.
func DefaultAdmissionOptions() AdmissionOptions {
	return AdmissionOptions{DiskBytes: 10 << 30, HotShare: 0.02, Remembered: 1 << 16}
}

// Validate reports the first value that cannot be used.
func (o AdmissionOptions) Validate() error {
	switch {
	case o.DiskBytes < 0:
		return fmt.Errorf("placement: DiskBytes: %d: expected a number of bytes, or 0 for an edge without a disk", o.DiskBytes)
	case !(o.HotShare >= 0 && o.HotShare < 1):
		return fmt.Errorf("placement: HotShare: %v: expected a share from 0 to less than 1", o.HotShare)
	case o.Remembered < 1 || o.Remembered > 1<<28:
		return fmt.Errorf("placement: Remembered: %d: expected a number of blocks from 1 to %d", o.Remembered, 1<<28)
	}
	return nil
}

// Admission decides which of the blocks that an edge has just fetched go to its
// disk. It is safe for concurrent use.
type Admission struct {
	opts AdmissionOptions

	mu sync.Mutex
	// recent are the blocks that passed through lately. Two that are taken for the same
	// put one on disk that did not deserve it.
	recent recent
	// budget is how many bytes of copies may be written now. Every byte written
	// for a block at home here adds a little; it never exceeds HotShare of the
	// disk.
	budget float64
	// fetched are the bytes of blocks at home elsewhere that passed through, written those
	// of all that went to the disk. Until that is full, nothing has to make room.
	fetched, written float64
}

const (
	// nearWithin is how soon a block that is at home elsewhere has to be asked for again to
	// be kept for others: before a quarter of the disk has passed through. It has to be as
	// hot as what survives there, or it would take the place of what only this edge keeps
	// (bench/fleet, zones, has figures).
	nearWithin = turns / 4
	// turns is how many parts of a disk are told apart.
	turns = 1024
)

// NewAdmission returns an Admission that has seen no block yet.
func NewAdmission(opts AdmissionOptions) (*Admission, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	a := &Admission{opts: opts, recent: newRecent(opts.Remembered)}
	a.budget = a.limit()
	return a, nil
}

func (a *Admission) limit() float64 { return a.opts.HotShare * float64(a.opts.DiskBytes) }

// ToDisk reports whether a block that was just fetched belongs on this edge's
// disk. home says whether this edge is home to it, near whether this edge keeps a copy
// of it for others if it is hot: it is the home in its zone, or was asked instead of a
// home that has too much to do. ToDisk is asked once for each fetch from a sibling or an
// origin: the second time for the same block is what makes it hot.
func (a *Admission) ToDisk(c cid.Cid, data []byte, home, near bool) bool {
	size := float64(len(data))
	a.mu.Lock()
	defer a.mu.Unlock()
	if home {
		a.written += size
		a.budget = min(a.limit(), a.budget+size*a.opts.HotShare/(1-a.opts.HotShare))
		return true
	}
	a.fetched += size
	ago, again := a.recent.seen(xxhash.Sum64(c.Hash()), uint32(a.fetched/max(1, float64(a.opts.DiskBytes)/turns)))
	index := IsIndex(c, data)
	switch {
	case near && (index || again && (a.written < float64(a.opts.DiskBytes) || ago <= nearWithin)):
		a.written += size
		return true
	case !again && !index || size > a.budget:
		return false
	}
	a.written += size
	a.budget -= size
	return true
}

// IsIndex reports whether a block leads to others: a dag-pb node with links (the
// inner nodes of files, and folders). A dag-pb leaf, which holds nothing but
// bytes, is not one.
func IsIndex(c cid.Cid, data []byte) bool {
	// The canonical form of dag-pb writes links before data, and a link is field
	// 2 of the message, length-delimited (IPLD dag-pb specification,
	// "Serial Format").
	const linkTag = 2<<3 | 2
	return c.Type() == cid.DagProtobuf && len(data) > 0 && data[0] == linkTag
}
