package demo

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// places are where an answer can come from, nearest first; the names are those of
// the Cache-Status header and of the metrics' source label.
var places = [...]string{"memory", "disk", "sibling", "origin"}

// An outcome is how one request went.
type outcome struct {
	path  string
	place string // where it came from; "" when it failed before that was known
	bytes int64
	took  time.Duration
	err   error

	// status is the answer's; 0 when there was none. blocks are those on the way to
	// it, by its X-Ipfs-Roots and ETag. edge is who gave it, where there are several.
	// moved says that another edge had to be asked.
	status int
	blocks []string
	edge   string
	moved  bool
}

// A tally counts outcomes. It is safe for concurrent use.
type tally struct {
	mu       sync.Mutex
	visitors int // who are done
	requests int
	bytes    int64
	byPlace  map[string]int
	took     []time.Duration
	moved    int
	failed   int
	first    error // the first failure
}

func (o outcome) failure() error { return &RequestError{Path: o.path, Edge: o.edge, Err: o.err} }

func newTally() *tally { return &tally{byPlace: map[string]int{}} }

func (t *tally) add(o outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	t.bytes += o.bytes
	t.took = append(t.took, o.took)
	if o.place != "" {
		t.byPlace[o.place]++
	}
	if o.moved {
		t.moved++
	}
	if o.err != nil {
		t.failed++
		if t.first == nil {
			t.first = o.failure()
		}
	}
}

func (t *tally) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.visitors++
}

// A RequestError is a response that failed or had the wrong bytes.
type RequestError struct {
	Path string
	Edge string // who was asked; "" where there is one
	Err  error
}

func (e *RequestError) Error() string {
	what := "GET " + e.Path
	if e.Edge != "" {
		what += " from " + e.Edge
	}
	return what + ": " + e.Err.Error()
}

func (e *RequestError) Unwrap() error { return e.Err }

// Result is what a phase, or a part of it, has come to.
type Result struct {
	Phase    string `json:"phase"`
	Visitors int    `json:"visitors"`
	Requests int    `json:"requests"`
	// Bytes is the sum of the bodies' sizes.
	Bytes int64 `json:"bytes"`
	// RequestsFrom counts responses by the farthest place that they needed, of
	// memory, disk, sibling and origin, as their Cache-Status says.
	RequestsFrom map[string]int `json:"requests_from"`
	// BytesFrom is how many bytes of blocks the edge read from each place.
	BytesFrom map[string]int64 `json:"bytes_from"`
	// OriginRequests is how often the edge asked the origin, with or without success.
	OriginRequests int64 `json:"origin_requests"`
	// OriginBytesPerRequest is BytesFrom["origin"] for each request of the crowd.
	OriginBytesPerRequest float64 `json:"origin_bytes_per_request"`
	// P50 and P99 are quantiles of the time to a response's last byte.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	// Failed counts responses that failed or differed from the source file.
	Failed int           `json:"failed"`
	Took   time.Duration `json:"took_ns"`
	// Cut says that the phase took too long, and that visitors were sent away.
	Cut bool `json:"cut,omitempty"`
}

// result returns what has been counted so far, with the edge's own counters.
func (t *tally) result(phase string, c counters) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Result{
		Phase: phase, Visitors: t.visitors, Requests: t.requests, Bytes: t.bytes,
		RequestsFrom: map[string]int{}, BytesFrom: map[string]int64{},
		OriginRequests: c.originRequests, Failed: t.failed,
	}
	for _, place := range places {
		r.RequestsFrom[place] = t.byPlace[place]
		r.BytesFrom[place] = c.blockBytes[place]
	}
	if t.requests > 0 {
		r.OriginBytesPerRequest = float64(r.BytesFrom["origin"]) / float64(t.requests)
	}
	sorted := slices.Clone(t.took)
	slices.Sort(sorted)
	r.P50, r.P99 = quantile(sorted, 0.50), quantile(sorted, 0.99)
	return r
}

func (t *tally) firstFailure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.first
}

// quantile returns the smallest value that at least q of the sorted ones do not
// exceed; 0 for none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// placeOf returns where a response came from by its Cache-Status header (RFC
// 9211): "memory" for a hit, else the detail of the last cache in the list, which
// is the one nearest to us. It returns "" when the header does not say.
func placeOf(header string) string {
	members := strings.Split(header, ",")
	hit, detail := false, ""
	for i, param := range strings.Split(members[len(members)-1], ";") {
		if i == 0 {
			continue // the cache's name
		}
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		switch key {
		case "hit":
			hit = value == "" || value == "?1"
		case "detail":
			detail = strings.Trim(value, `"`)
		}
	}
	switch {
	case slices.Contains(places[:], detail):
		return detail
	case hit:
		return "memory"
	}
	return ""
}
