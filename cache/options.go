package cache

import (
	"fmt"
	"math/bits"
	"runtime"

	"github.com/shoal-cdn/shoal/block"
)

// Options configures a [Cache].
type Options struct {
	// Bytes is the memory that cached blocks may hold, their overhead included.
	// 0 keeps nothing.
	Bytes int64
}

// DefaultOptions is a cache for a small machine: it holds a few typical sites.
func DefaultOptions() Options {
	return Options{Bytes: 256 << 20}
}

// Validate reports the first value that cannot be used.
func (o Options) Validate() error {
	if o.Bytes < 0 {
		return fmt.Errorf("cache: Bytes: %d: expected a number of bytes, or 0 to keep nothing in memory", o.Bytes)
	}
	return nil
}

// minShardBytes keeps shards large enough that the largest blocks fit several
// times over, and that one busy shard costs little of the whole budget.
const minShardBytes = 8 * block.MaxSize

// shardCount picks a power of two: several shards per processor, so that two
// requests seldom meet at one mutex, as far as the budget allows.
func shardCount(bytes int64) int {
	most := int64(8 * runtime.GOMAXPROCS(0))
	n := max(1, min(most, bytes/minShardBytes))
	return 1 << (bits.Len64(uint64(n)) - 1)
}
