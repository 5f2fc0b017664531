package main

import (
	"container/list"
	"context"
	"fmt"
	"os"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/shoal-cdn/shoal/blockstore"
)

// hits is the outcome of a replay.
type hits struct {
	requests, hits   int64
	bytes, hitBytes  int64
	stored, written  int64 // what the store wrote for what it was given
	blocks, capacity int64
}

func (h hits) ratio() float64         { return float64(h.hits) / float64(h.requests) }
func (h hits) byteRatio() float64     { return float64(h.hitBytes) / float64(h.bytes) }
func (h hits) amplification() float64 { return float64(h.written) / float64(h.stored) }

func (h *hits) count(r request, hit bool) {
	h.requests++
	h.bytes += int64(r.size)
	if hit {
		h.hits++
		h.hitBytes += int64(r.size)
	}
}

// replayStore asks the store for every object, and puts what it lacks. The first
// third warms it up and is not counted.
func replayStore(w workload, folder string, capacity int64) (hits, error) {
	dir, err := os.MkdirTemp(folder, "replay-")
	if err != nil {
		return hits{}, err
	}
	defer os.RemoveAll(dir)
	s, err := blockstore.New(blockstore.Options{Dir: dir, Capacity: capacity}, nil, nil)
	if err != nil {
		return hits{}, err
	}
	defer s.Close()
	var h hits
	for i, r := range w.requests {
		b := madeUp(r.object, r.size)
		err := s.View(context.Background(), b.Cid(), func([]byte) error { return nil })
		switch {
		case ipld.IsNotFound(err):
			if err := s.Put(context.Background(), b); err != nil {
				return h, fmt.Errorf("replay %s: %w", w.name, err)
			}
		case err != nil:
			return h, fmt.Errorf("replay %s: %w", w.name, err)
		}
		if i >= len(w.requests)/3 {
			h.count(r, err == nil)
		}
	}
	n := s.Stats()
	h.stored, h.written, h.blocks, h.capacity = n.StoredBytes, n.WrittenBytes, n.Blocks, capacity
	return h, nil
}

// replayLRU does the same with a perfect LRU of as many bytes, for whom records
// have neither headers nor footers.
func replayLRU(w workload, capacity int64) hits {
	var h hits
	used := int64(0)
	queue, places := list.New(), map[uint64]*list.Element{}
	for i, r := range w.requests {
		place, hit := places[r.object]
		if hit {
			queue.MoveToFront(place)
		} else {
			places[r.object] = queue.PushFront(r)
			used += int64(r.size)
		}
		for used > capacity {
			last := queue.Remove(queue.Back()).(request)
			delete(places, last.object)
			used -= int64(last.size)
		}
		if i >= len(w.requests)/3 {
			h.count(r, hit)
		}
	}
	return h
}
