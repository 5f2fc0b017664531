package placement

// ways is how many blocks share one bucket of a memory of recent ones.
const ways = 4

// recent remembers the latest blocks: a fingerprint of each, in buckets of 4, newest
// first. Two blocks share a fingerprint once in a billion.
type recent []uint32

// newRecent remembers n blocks, with 4 bytes each.
func newRecent(n int) recent { return make(recent, (n+ways-1)/ways*ways) }

// seen reports whether hash was seen lately, and remembers it as the newest of its bucket.
func (r recent) seen(hash uint64) bool {
	print := uint32(hash>>32) | 1 // 0 marks an empty place
	at := int(uint32(hash)%uint32(len(r)/ways)) * ways
	bucket := r[at : at+ways]
	last := ways - 1 // the oldest makes room, unless print is there already
	found := false
	for i, p := range bucket {
		if p == print {
			last, found = i, true
			break
		}
	}
	copy(bucket[1:last+1], bucket[:last])
	bucket[0] = print
	return found
}
