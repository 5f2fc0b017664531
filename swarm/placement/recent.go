package placement

// ways is how many blocks share one bucket of a memory of recent ones.
const ways = 4

// recent remembers the latest blocks, each by a fingerprint and by when it was seen, in
// buckets of 4, newest first. Two blocks share a fingerprint once in a billion.
type recent []sight

type sight struct{ print, at uint32 }

// newRecent remembers n blocks, with 8 bytes each.
func newRecent(n int) recent { return make(recent, (n+ways-1)/ways*ways) }

// seen reports whether hash was seen lately, and how long ago by the caller's clock. It
// remembers it as the newest of its bucket.
func (r recent) seen(hash uint64, now uint32) (ago uint32, found bool) {
	print := uint32(hash>>32) | 1 // 0 marks an empty place
	at := int(uint32(hash)%uint32(len(r)/ways)) * ways
	bucket := r[at : at+ways]
	last := ways - 1 // the oldest makes room, unless print is there already
	for i, s := range bucket {
		if s.print == print {
			last, ago, found = i, now-s.at, true
			break
		}
	}
	copy(bucket[1:last+1], bucket[:last])
	bucket[0] = sight{print, now}
	return ago, found
}
