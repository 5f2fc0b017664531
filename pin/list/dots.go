package list

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// author is who numbered a pin: one run of an edge. It is random, so that an edge
// that lost its disk, or got back an old copy of it, never uses a number again.
type author uint64

func (a author) String() string { return fmt.Sprintf("%016x", uint64(a)) }

// MarshalText is for JSON.
func (a author) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is for JSON.
func (a *author) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 || n == 0 {
		return fmt.Errorf("author %.32q: 16 hexadecimal digits, not all 0, are expected", text)
	}
	*a = author(n)
	return nil
}

// dot is the number of one addition: the first pin that an author adds has 1, the
// next one 2. It is never given to another one.
type dot struct {
	Author author `json:"author"`
	Seq    uint64 `json:"seq"`
}

func (d dot) String() string { return fmt.Sprintf("%s/%d", d.Author, d.Seq) }

func (d dot) less(e dot) bool {
	return d.Author < e.Author || d.Author == e.Author && d.Seq < e.Seq
}

func (d dot) digest() uint64 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(d.Author))
	binary.BigEndian.PutUint64(b[8:], d.Seq)
	return xxhash.Sum64(b[:])
}

// span is the numbers from the first to the second, both included.
type span [2]uint64

// ranges is a set of numbers: spans in order, that neither overlap nor touch. A
// ranges is not changed once it is in use.
type ranges []span

// check says whether ranges from elsewhere are what they should be.
func (r ranges) check() error {
	for i, s := range r {
		if s[0] == 0 || s[0] > s[1] || i > 0 && s[0] <= r[i-1][1]+1 {
			return fmt.Errorf("range %d of %d, %d to %d, is out of order", i+1, len(r), s[0], s[1])
		}
		if s[1] == ^uint64(0) {
			return errors.New("a range ends at the highest number that there is")
		}
	}
	return nil
}

// search returns the index of the first span that ends at n or later.
func (r ranges) search(n uint64) int {
	return sort.Search(len(r), func(i int) bool { return r[i][1] >= n })
}

func (r ranges) has(n uint64) bool {
	i := r.search(n)
	return i < len(r) && r[i][0] <= n
}

// beyond reports whether there is a number after n.
func (r ranges) beyond(n uint64) bool { return len(r) > 0 && r[len(r)-1][1] > n }

func (r ranges) union(o ranges) ranges {
	all := make(ranges, 0, len(r)+len(o))
	for len(r) > 0 || len(o) > 0 {
		if len(r) == 0 || len(o) > 0 && o[0][0] < r[0][0] {
			r, o = o, r
		}
		s := r[0]
		r = r[1:]
		if last := len(all) - 1; last >= 0 && s[0] <= all[last][1]+1 {
			all[last][1] = max(all[last][1], s[1])
		} else {
			all = append(all, s)
		}
	}
	return slices.Clip(all)
}

func (r ranges) without(n uint64) ranges {
	i := r.search(n)
	if i == len(r) || r[i][0] > n {
		return r
	}
	s := r[i]
	out := slices.Clone(r[:i])
	if s[0] < n {
		out = append(out, span{s[0], n - 1})
	}
	if n < s[1] {
		out = append(out, span{n + 1, s[1]})
	}
	return append(out, r[i+1:]...)
}

// within returns what of it lies in the window.
func (r ranges) within(w span) ranges {
	var out ranges
	for _, s := range r[r.search(w[0]):] {
		if s[0] > w[1] {
			break
		}
		out = append(out, span{max(s[0], w[0]), min(s[1], w[1])})
	}
	return out
}

// includes reports whether all of o is in it.
func (r ranges) includes(o ranges) bool {
	for _, s := range o {
		i := r.search(s[0])
		if i == len(r) || r[i][0] > s[0] || r[i][1] < s[1] {
			return false
		}
	}
	return true
}

// digest of the ranges of an author. That of none is 0.
func (r ranges) digest(a author) uint64 {
	if len(r) == 0 {
		return 0
	}
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+16*len(r)), uint64(a))
	for _, s := range r {
		b = binary.BigEndian.AppendUint64(b, s[0])
		b = binary.BigEndian.AppendUint64(b, s[1])
	}
	return xxhash.Sum64(b)
}

// summary identifies the state of a list: the sums of the digests of the numbers
// that it knows, and of those that are on it. Lists of the same summary are the same.
type summary struct {
	Known digest `json:"known"`
	Pins  digest `json:"pins"`
}

// digest is text in JSON, where numbers of 64 bits do not survive every reader.
type digest uint64

// MarshalText is for JSON.
func (d digest) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(d)), nil }

// UnmarshalText is for JSON.
func (d *digest) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("digest %.32q: 16 hexadecimal digits are expected", text)
	}
	*d = digest(n)
	return nil
}
