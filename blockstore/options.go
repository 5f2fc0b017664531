package blockstore

import "fmt"

// MinCapacity is the smallest store, in bytes: it still holds several blocks of
// the largest size, in segments of their own, and the space to move one.
const MinCapacity = 16 << 20

// Limits of the length at which a segment is sealed, in bytes. The store reclaims
// whole segments, so many small ones keep eviction precise; too many cost file
// descriptors (one each).
const (
	minSegmentSize     = 256 << 10
	maxSegmentSize     = 512 << 20
	segmentsPerStore   = 128
	referenceLogMargin = 64 << 10
)

// Options are the settings of a [Store].
type Options struct {
	// Dir is the folder that holds the store and nothing else. It is created
	// when missing; its parent's file system decides how much really fits.
	Dir string
	// Capacity bounds what all files in Dir take together, in bytes. A file system
	// that has less bounds it further, for as long as that is so.
	Capacity int64

	// segment is the length at which a segment is sealed, in bytes; 0 lets it
	// follow the capacity.
	segment int64
}

// DefaultOptions returns the settings of config.yaml.
func DefaultOptions() Options {
	return Options{Dir: "data/blocks", Capacity: 10 << 30}
}

// Validate reports the first setting that cannot work.
func (o Options) Validate() error {
	if o.Dir == "" {
		return fmt.Errorf("block store folder: empty: expected a path")
	}
	if o.Capacity < MinCapacity {
		return fmt.Errorf("block store capacity: %d bytes: expected at least %d (16 MiB)", o.Capacity, MinCapacity)
	}
	return nil
}

// segmentSize is the length at which a segment is sealed. A segment is longer
// only when it holds a single record.
func (o Options) segmentSize() int64 {
	if o.segment > 0 {
		return o.segment
	}
	return min(max(o.Capacity/segmentsPerStore, minSegmentSize), maxSegmentSize)
}

// reserve is the space that writes leave free, so that the pinned blocks of a
// segment can be moved out of it before it is reclaimed, and a release can be
// written down, in a store that is otherwise full.
func (o Options) reserve() int64 {
	return o.segmentSize() + o.logMargin()
}

// logMargin is the part of the reserve that is for the log of references; half
// of it is what the log may waste before it is rewritten.
func (o Options) logMargin() int64 { return min(referenceLogMargin, o.segmentSize()) }
