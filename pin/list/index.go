package list

import (
	"math"
	"slices"

	"github.com/tidwall/btree"

	"github.com/shoal-cdn/shoal/pin/record"
)

// entry is a pin that is on the list. It is not changed.
type entry struct {
	pin record.Pin
	dot dot
}

// bucketSize is how many numbers of an author share one digest.
const bucketSize = 1024

// maxBucket has the highest numbers that there are.
const maxBucket = math.MaxUint64 / bucketSize

// place is a bucket: the numbers n*bucketSize to (n+1)*bucketSize-1 of an author.
type place struct {
	author author
	n      uint64
}

func (d dot) place() place { return place{d.Author, d.Seq / bucketSize} }

func (p place) less(q place) bool {
	return p.author < q.author || p.author == q.author && p.n < q.n
}

func (p place) window() span { return span{p.n * bucketSize, p.n*bucketSize + bucketSize - 1} }

// bucket sums up the pins of a place that are on the list.
type bucket struct {
	place
	digest digest // sum of the digests of their dots
	pins   int
}

// index is the list in memory. Only the writer changes it.
type index struct {
	byID map[string]*entry
	// twins are the entries that share an ID with a lower dot. There are none, unless
	// an ID was used twice, on two edges that did not see each other.
	twins   map[string][]*entry
	byTime  *btree.BTreeG[*entry]
	owners  map[string]*btree.BTreeG[*entry]
	byDot   *btree.BTreeG[*entry]
	buckets *btree.BTreeG[*bucket]
	// known is every dot that was ever seen here. What is known and not on the list
	// has been removed.
	known map[author]ranges
	spans int // in known
	given dot // the last number that this run gave out
	sum   summary
}

func tree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	// A list of tokens that each own one pin has as many trees: small nodes.
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})
}

func newIndex() *index {
	return &index{
		byID: map[string]*entry{}, twins: map[string][]*entry{}, owners: map[string]*btree.BTreeG[*entry]{},
		byTime: tree(older), byDot: tree(func(a, b *entry) bool { return a.dot.less(b.dot) }),
		buckets: tree(func(a, b *bucket) bool { return a.less(b.place) }),
		known:   map[author]ranges{},
	}
}

// older orders by the time of creation, and what is equally old by the ID.
func older(a, b *entry) bool {
	if c := a.pin.Created.Compare(b.pin.Created); c != 0 {
		return c < 0
	}
	if a.pin.ID != b.pin.ID {
		return a.pin.ID < b.pin.ID
	}
	return a.dot.less(b.dot)
}

func (x *index) find(id string) []*entry {
	e := x.byID[id]
	if e == nil {
		return nil
	}
	return append([]*entry{e}, x.twins[id]...)
}

func (x *index) at(d dot) *entry {
	e, _ := x.byDot.Get(&entry{dot: d})
	return e
}

// between calls f with the entries of an author in a window, in order.
func (x *index) between(a author, w span, f func(*entry)) {
	x.byDot.Ascend(&entry{dot: dot{a, w[0]}}, func(e *entry) bool {
		if e.dot.Author != a || e.dot.Seq > w[1] {
			return false
		}
		f(e)
		return true
	})
}

func (x *index) add(e *entry) {
	owner := x.owners[e.pin.Owner]
	if owner == nil {
		owner = tree(older)
		x.owners[e.pin.Owner] = owner
	} else if first, ok := owner.Min(); ok {
		e.pin.Owner = first.pin.Owner // one string for all of them
	}
	owner.Set(e)
	x.byTime.Set(e)
	x.byDot.Set(e)
	if first := x.byID[e.pin.ID]; first == nil {
		x.byID[e.pin.ID] = e
	} else {
		x.setTwins(e.pin.ID, append(x.find(e.pin.ID), e))
	}
	x.count(e.dot, 1)
}

func (x *index) remove(e *entry) {
	owner := x.owners[e.pin.Owner]
	owner.Delete(e)
	if owner.Len() == 0 {
		delete(x.owners, e.pin.Owner)
	}
	x.byTime.Delete(e)
	x.byDot.Delete(e)
	x.setTwins(e.pin.ID, slices.DeleteFunc(x.find(e.pin.ID), func(f *entry) bool { return f == e }))
	x.count(e.dot, -1)
}

func (x *index) setTwins(id string, all []*entry) {
	slices.SortFunc(all, func(a, b *entry) int {
		if a.dot.less(b.dot) {
			return -1
		}
		return 1
	})
	delete(x.byID, id)
	delete(x.twins, id)
	if len(all) > 0 {
		x.byID[id] = all[0]
	}
	if len(all) > 1 {
		x.twins[id] = all[1:]
	}
}

// count keeps the sums.
func (x *index) count(d dot, change int) {
	sum := digest(d.digest())
	if change < 0 {
		sum = -sum
	}
	x.sum.Pins += sum
	b, ok := x.buckets.Get(&bucket{place: d.place()})
	if !ok {
		b = &bucket{place: d.place()}
		x.buckets.Set(b)
	}
	b.digest += sum
	if b.pins += change; b.pins == 0 {
		x.buckets.Delete(b)
	}
}

// learn replaces what is known of an author.
func (x *index) learn(a author, r ranges) {
	x.sum.Known += digest(r.digest(a) - x.known[a].digest(a))
	x.spans += len(r) - len(x.known[a])
	x.known[a] = r
}

// authors returns who is known, from one on, in order.
func (x *index) authors(from author) []author {
	all := make([]author, 0, len(x.known))
	for a := range x.known {
		if a >= from {
			all = append(all, a)
		}
	}
	slices.Sort(all)
	return all
}
