package edge

const (
	// idleMemory is what an edge takes that does nothing, with room for the garbage
	// of a busy one, in bytes.
	idleMemory = 48 << 20
	// waitingMemory is what a request takes that waits for content: its connection's
	// buffers, its goroutines and the fetches that it waits for, in bytes. Measured
	// with 4096 of them (bench/http).
	waitingMemory = 56 << 10
	// answeringMemory is what any other request takes, in bytes, while its client reads:
	// measured with 15 000 streams of HTTP/2 whose window is closed (e2e).
	answeringMemory = 12 << 10
	// blockMemory is what the disk's index takes for a block, in bytes.
	blockMemory = 54
	// pinMemory is what a pin of the fleet takes, in bytes: the list, the state of its
	// DAG here and what siblings report of it. Measured with 100 000 pins (package pin).
	pinMemory = 1400
)

// MemoryBudget returns how many bytes of memory this edge is meant to use at this
// moment: the cache, an eighth of it for what is on its way, what an idle edge takes,
// and what grows with the work: the index of the disk, the fleet's pins, the requests
// that wait or are being answered, and the answers that are being made.
func (e *Edge) MemoryBudget() int64 {
	cache := int64(e.config().Cache.Memory)
	pins := 0
	for _, n := range e.pins.Counts() {
		pins += n
	}
	waiting := e.gateway.Waiting()
	answering := max(0, e.gateway.Answering()-waiting)
	return cache + max(cache/8, e.gateway.Sending()) + idleMemory + waitingMemory*waiting + answeringMemory*answering + e.gateway.Generating() + blockMemory*e.store.Stats().Blocks + pinMemory*int64(pins)
}
