// Package blocktest makes blocks up, for tests and benchmarks of what does not look at
// whether a block's bytes are those that its CID names.
package blocktest

import (
	"hash/crc32"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

// MadeUp returns a block that has any bytes under any CID.
func MadeUp(c cid.Cid, data []byte) *block.Verified {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	b, err := block.Restore(c, data, block.Checksum(sum))
	if err != nil {
		panic(err) // the checksum is that of the data
	}
	return b
}
