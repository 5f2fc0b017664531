package main

// disk is what a store of blocks on disk keeps.
type disk interface {
	has(block int32) bool
	get(block int32) bool // counts as a use
	put(block int32, size int64)
	each(f func(block int32))
}

// The first two are those of package blockstore.
const (
	probationShare = 15 // per cent of the store
	maxUses        = 3
	// usable is how much of its capacity the real store uses, in per cent: it fills
	// and frees whole segments and keeps one in reserve. See RESULTS.md.
	usable = 98
)

// s3fifo models the eviction of package blockstore (evict.go there): S3-FIFO, with
// a memory of what was evicted too early, block by block where the real store goes
// segment by segment. Nor does it bound how much is copied forward.
type s3fifo struct {
	capacity    int64
	bytes       int64
	fresh, kept fifo // probation, main
	blocks      map[int32]*stored
	ghost       []int32
}

type stored struct {
	block int32
	size  int64
	uses  int8
}

func newS3FIFO(capacity int64) *s3fifo {
	return &s3fifo{capacity: capacity / 100 * usable, blocks: map[int32]*stored{}}
}

func (s *s3fifo) has(block int32) bool { return s.blocks[block] != nil }

func (s *s3fifo) get(block int32) bool {
	b := s.blocks[block]
	if b == nil {
		return false
	}
	b.uses = min(b.uses+1, maxUses)
	return true
}

func (s *s3fifo) put(block int32, size int64) {
	if size > s.capacity || s.blocks[block] != nil {
		return
	}
	for s.bytes+size > s.capacity {
		s.evict()
	}
	b := &stored{block: block, size: size}
	s.blocks[block] = b
	s.bytes += size
	if s.remembered(block) {
		s.kept.push(b)
	} else {
		s.fresh.push(b)
	}
}

// evict lets go of one block, or moves some on.
func (s *s3fifo) evict() {
	if s.fresh.len() > 0 && (s.fresh.bytes > s.capacity/100*probationShare || s.kept.len() == 0) {
		b := s.fresh.pop()
		if b.uses > 0 {
			b.uses = 0
			s.kept.push(b)
			return
		}
		s.remember(b.block)
		s.forget(b)
		return
	}
	b := s.kept.pop()
	if b.uses > 0 {
		b.uses--
		s.kept.push(b)
		return
	}
	s.forget(b)
}

func (s *s3fifo) forget(b *stored) {
	delete(s.blocks, b.block)
	s.bytes -= b.size
}

func (s *s3fifo) slot(block int32) *int32 {
	return &s.ghost[uint64(mixed(block))%uint64(len(s.ghost))]
}

func (s *s3fifo) remember(block int32) {
	if n := len(s.blocks); len(s.ghost) < n {
		s.ghost = make([]int32, max(16, n+n/4))
	}
	*s.slot(block) = block + 1
}

func (s *s3fifo) remembered(block int32) bool {
	if len(s.ghost) == 0 || *s.slot(block) != block+1 {
		return false
	}
	*s.slot(block) = 0
	return true
}

func (s *s3fifo) each(f func(block int32)) {
	for _, q := range []*fifo{&s.fresh, &s.kept} {
		for _, b := range q.queue[q.first:] {
			f(b.block)
		}
	}
}

// mixed spreads block numbers, which are not random.
func mixed(block int32) uint32 {
	x := uint32(block) * 0x9e3779b1
	return x ^ x>>15
}

// fifo is a queue that counts its bytes.
type fifo struct {
	queue []*stored
	first int
	bytes int64
}

func (q *fifo) len() int { return len(q.queue) - q.first }

func (q *fifo) push(b *stored) {
	q.queue = append(q.queue, b)
	q.bytes += b.size
}

func (q *fifo) pop() *stored {
	b := q.queue[q.first]
	q.queue[q.first] = nil
	q.bytes -= b.size
	if q.first++; q.first > 64 && q.first > len(q.queue)/2 {
		q.queue = append(q.queue[:0:0], q.queue[q.first:]...)
		q.first = 0
	}
	return b
}
