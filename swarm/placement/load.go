package placement

import (
	"math"
	"sync"

	"github.com/cespare/xxhash/v2"
)

const (
	// Ranks is how many members in the order of rank may serve a block that its home has
	// too many requests for.
	Ranks = 16
	// bound is how much more than its share a member is asked for at most, while others
	// can serve it as well. The goal for what it has to do in the end is 1.25.
	bound = 1.2
	// slack is how many requests more are nothing to speak of.
	slack = 4
	// window is how many requests for each member are counted before all counts are
	// halved, so that what was long ago counts less.
	window = 256
	// hotMemory is how many blocks are remembered to recognise those that are asked for
	// again and again.
	hotMemory = 208
)

// Load spreads what one edge asks of the others: consistent hashing with bounded loads
// (Mirrokni, Thorup and Zadimoghaddam, 2018), over ranks and with what this edge itself has
// asked for as the load. It knows nothing of what others ask; where all edges see the same
// popularity, a home that none of them asks for more than 1.25 of its share has no more
// than that to do. Only blocks that are asked for again and again go elsewhere: they are
// few, so their copies take little room. It is safe for concurrent use.
type Load struct {
	mu    sync.Mutex
	hot   recent
	ring  *Ring
	sent  []float64 // by position in the ring
	total float64
	sum   float64 // of the weights of all members but this edge
}

// NewLoad returns a Load that has counted nothing.
func NewLoad() *Load { return &Load{hot: newRecent(hotMemory)} }

// Choose returns the member that is asked for a block, as a position in the ring, and
// counts that: the first home, which the caller knows, or if that has had too much of this
// edge, the next in rank that has not. self is this edge's own position, or -1: members
// that rank behind it are not asked, so that nobody waits in a circle. It must not be the
// first home.
func (l *Load) Choose(r *Ring, mh []byte, first, self int) int {
	hash := xxhash.Sum64(mh)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.follow(r, self)
	_, hot := l.hot.seen(hash, 0)
	to := first
	if hot && l.excess(first) > 0 {
		to = l.next(r, mh, self)
	}
	l.count(to)
	return to
}

// next returns the first member in rank that has had less than it may, or the one that has
// had least of what it may.
func (l *Load) next(r *Ring, mh []byte, self int) int {
	var buf [Ranks]int
	best, least := -1, math.Inf(1)
	for _, i := range r.Homes(mh, Ranks, buf[:0]) {
		if i == self {
			break
		}
		over := l.excess(i)
		if over <= 0 {
			return i
		}
		if over < least {
			best, least = i, over
		}
	}
	return best
}

// excess is how much more than it may a member would have been asked for with one more
// request, as a share of what it may; not above 0 if it may be asked.
func (l *Load) excess(i int) float64 {
	may := bound*(l.total+1)*l.ring.weights[i]/l.sum + slack
	return (l.sent[i] + 1 - may) / may
}

func (l *Load) count(i int) {
	l.sent[i]++
	l.total++
	if l.total < window*float64(len(l.sent)) {
		return
	}
	l.total = 0
	for i := range l.sent {
		l.sent[i] /= 2
		l.total += l.sent[i]
	}
}

// follow takes the counts along into another ring.
func (l *Load) follow(r *Ring, self int) {
	if l.ring == r {
		return
	}
	sent := make([]float64, r.Len())
	l.total, l.sum = 0, 0
	for i, m := range r.members {
		if l.ring != nil {
			if j, ok := l.ring.find(m.Name); ok {
				sent[i] = l.sent[j]
				l.total += sent[i]
			}
		}
		if i != self {
			l.sum += r.weights[i]
		}
	}
	l.ring, l.sent = r, sent
}
