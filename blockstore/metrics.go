package blockstore

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are kept up to date by those who change what they count, so that
// reading them waits for nobody.
type counters struct {
	bytes, segments                 atomic.Int64
	blocks, pinned, missing, owners atomic.Int64
	pinnedBytes                     atomic.Int64
	stored, written, copied         atomic.Int64
	evicted, evictedBytes           atomic.Int64
	corrupt                         atomic.Int64
	readFailures, writeFailures     atomic.Int64
	diskFull                        atomic.Bool
}

// Stats is what a store holds and what it went through since it was opened. Sizes
// are bytes.
type Stats struct {
	Bytes    int64 // what all files take, with the space that is promised to them
	Capacity int64 // what they may take: no more than the file system has
	Blocks   int64
	Segments int64

	PinnedBlocks  int64 // blocks here that an owner holds
	PinnedBytes   int64 // what they take
	MissingPinned int64 // blocks that an owner holds but that are not here: their records went bad
	Owners        int64 // committed owners

	StoredBytes   int64 // data of blocks that were stored
	WrittenBytes  int64 // what was written to disk for that, all included
	CopiedBytes   int64 // the part of it that was copied forward from reclaimed segments
	EvictedBlocks int64
	EvictedBytes  int64

	CorruptRecords int64 // records whose checksum was wrong
	ReadFailures   int64 // reads that the disk refused
	WriteFailures  int64 // writes that the disk refused
	DiskFull       bool  // the last write found no space on the disk
}

// Stats returns the figures of this moment. It waits for nobody but, now and then, for
// the file system to say how much room it has.
func (s *Store) Stats() Stats {
	s.fit()
	n := &s.stats
	return Stats{
		Bytes: n.bytes.Load(), Capacity: s.capacity.Load(),
		Blocks: n.blocks.Load(), Segments: n.segments.Load(),
		PinnedBlocks: n.pinned.Load(), PinnedBytes: n.pinnedBytes.Load(),
		MissingPinned: n.missing.Load(), Owners: n.owners.Load(),
		StoredBytes: n.stored.Load(), WrittenBytes: n.written.Load(), CopiedBytes: n.copied.Load(),
		EvictedBlocks: n.evicted.Load(), EvictedBytes: n.evictedBytes.Load(),
		CorruptRecords: n.corrupt.Load(),
		ReadFailures:   n.readFailures.Load(), WriteFailures: n.writeFailures.Load(),
		DiskFull: n.diskFull.Load(),
	}
}

func (s *Store) collectors() []prometheus.Collector {
	n := &s.stats
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "shoal", Subsystem: "store", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	counter := func(name, help string, value *atomic.Int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "shoal", Subsystem: "store", Name: name, Help: help},
			func() float64 { return float64(value.Load()) })
	}
	return []prometheus.Collector{
		gauge("bytes", "Bytes that the block store takes on disk.", n.bytes.Load),
		gauge("capacity_bytes", "Bytes that the block store may take on disk: no more than there is.", func() int64 {
			s.fit()
			return s.capacity.Load()
		}),
		gauge("blocks", "Blocks in the block store.", n.blocks.Load),
		gauge("pinned_blocks", "Blocks in the block store that are pinned.", n.pinned.Load),
		gauge("pinned_bytes", "Bytes on disk that pinned blocks take.", n.pinnedBytes.Load),
		gauge("pinned_missing_blocks", "Pinned blocks that are not in the block store, because their records went bad.", n.missing.Load),
		gauge("disk_full", "1 while the disk under the block store has no space left: blocks are served but not stored.", func() int64 {
			if n.diskFull.Load() {
				return 1
			}
			return 0
		}),
		counter("stored_bytes_total", "Bytes of blocks that were stored.", &n.stored),
		counter("written_bytes_total", "Bytes written to disk, with copies, headers and footers.", &n.written),
		counter("evicted_bytes_total", "Bytes of blocks that were evicted.", &n.evictedBytes),
		counter("evicted_blocks_total", "Blocks that were evicted.", &n.evicted),
		counter("corrupt_records_total", "Records whose checksum was wrong; their blocks were dropped.", &n.corrupt),
		counter("read_failures_total", "Reads that the disk refused.", &n.readFailures),
		counter("write_failures_total", "Writes that the disk refused.", &n.writeFailures),
	}
}
