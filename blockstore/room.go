package blockstore

import (
	"time"

	"github.com/dustin/go-humanize"
)

// How much the store may take is its capacity, or what the file system has for it, if
// that is less: a volume whose claim has grown grows later itself, and a disk may be
// shared. A store that relied on its capacity would stop keeping anything once the disk
// is full; one that knows how much there is makes room among its own blocks.
const (
	// fitEvery is how often the file system is asked, at most. It answers from memory.
	fitEvery = 10 * time.Second
	// spareShare, between leastSpare and mostSpare bytes, is the part of the file system
	// that the store leaves to others, such as the database of the pins.
	spareShare = 64
	leastSpare = 1 << 20
	mostSpare  = 1 << 30
)

// limits returns the options with the capacity that is in force.
func (s *Store) limits() Options {
	o := s.options
	o.Capacity = s.capacity.Load()
	return o
}

// fit asks the file system how much it has, if that was not done lately. A file system
// that does not tell bounds nothing.
func (s *Store) fit() {
	last, now := s.fitted.Load(), time.Now().UnixNano()
	if age := now - last; age >= 0 && age < int64(fitEvery) || !s.fitted.CompareAndSwap(last, now) {
		return
	}
	free, total, err := s.fsys.space()
	if err != nil || total <= 0 {
		return
	}
	spare := min(max(total/spareShare, leastSpare), mostSpare)
	has := max(s.used()+free-spare, MinCapacity)
	bound := min(s.options.Capacity, has)
	s.capacity.Store(bound)
	log := s.log.With("dir", s.options.Dir, "capacity", humanize.IBytes(uint64(s.options.Capacity)), "free", humanize.IBytes(uint64(free)))
	switch {
	case bound < s.options.Capacity && !s.bounded.Swap(true):
		log.Warn("the file system has less room than the block store may take (cache.disk); it keeps to what there is until there is more",
			"bound", humanize.IBytes(uint64(bound)))
	// Not at once: what others write and delete would have it said again and again.
	case has >= s.options.Capacity+spare && s.bounded.Swap(false):
		log.Info("the file system has room for all that the block store may take")
	}
}
