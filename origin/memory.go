package origin

import (
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/block"
)

// memoryEntries bounds the memory of one origin, to about 2 MiB.
const memoryEntries = 8192

// memory remembers for a moment what was not found and what failed, so that a
// crowd that asks for missing content does not become a crowd at the origin. It is
// keyed by multihash: the same bytes under another codec are missing as well.
type memory struct {
	notFoundTTL, failureTTL time.Duration
	entries                 *lru.Cache[string, remembered]
}

type remembered struct {
	until time.Time
	err   *failure // nil: not found
}

func newMemory(notFoundTTL, failureTTL time.Duration) *memory {
	entries, err := lru.New[string, remembered](memoryEntries)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &memory{notFoundTTL: notFoundTTL, failureTTL: failureTTL, entries: entries}
}

// recall returns the error that c ended with a moment ago, or nil.
func (m *memory) recall(c cid.Cid) error {
	key := string(c.Hash())
	e, ok := m.entries.Get(key)
	if !ok {
		return nil
	}
	if !time.Now().Before(e.until) {
		m.entries.Remove(key)
		return nil
	}
	if e.err == nil {
		return block.NotFound(c)
	}
	return e.err
}

// note remembers how a request ended. What was never sent says nothing about the
// block, and a pause is remembered for the whole origin.
func (m *memory) note(c cid.Cid, err error) {
	if ipld.IsNotFound(err) {
		m.put(c, m.notFoundTTL, nil)
		return
	}
	f, ok := errors.AsType[*failure](err)
	if !ok || f.outcome == "" || f.outcome == outcomeThrottled || f.outcome == outcomeCanceled {
		return
	}
	m.put(c, m.failureTTL, f)
}

func (m *memory) put(c cid.Cid, ttl time.Duration, err *failure) {
	if ttl > 0 {
		m.entries.Add(string(c.Hash()), remembered{time.Now().Add(ttl), err})
	}
}
