package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Answer is a response, read whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// visitors keep enough connections for a crowd.
var visitors = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 10 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Get asks the edge's gateway for a path under a host name; an empty one is the
// edge's address.
func (e *Edge) Get(ctx context.Context, host, path string) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Gateway+path, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Host = host
	start := time.Now()
	res, err := visitors.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return Answer{res.StatusCode, res.Header, body, time.Since(start)}, err
}

// Fetch asks for a file of a site and compares the bytes.
func (e *Edge) Fetch(ctx context.Context, s *Site, path string) (Answer, error) {
	a, err := e.Get(ctx, "", "/ipfs/"+path)
	switch {
	case err != nil:
		return a, fmt.Errorf("edge %s: %w", e.Name, err)
	case a.Status != http.StatusOK:
		return a, fmt.Errorf("edge %s: %s: status %d: %.200s", e.Name, path, a.Status, a.Body)
	case !bytes.Equal(a.Body, s.Files[path]):
		return a, fmt.Errorf("edge %s: %s: %d wrong bytes, expected %d", e.Name, path, len(a.Body), len(s.Files[path]))
	}
	return a, nil
}

// Tally is what came of a number of requests. It is safe for concurrent use.
type Tally struct {
	mu       sync.Mutex
	requests int
	failures []error
	took     []time.Duration
	sources  map[string]int
}

// Add counts one request.
func (t *Tally) Add(a Answer, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
	if err != nil {
		t.failures = append(t.failures, err)
		return
	}
	t.took = append(t.took, a.Took)
	if t.sources == nil {
		t.sources = map[string]int{}
	}
	t.sources[a.Header.Get("Cache-Status")]++
}

// Join adds what others have counted.
func (t *Tally) Join(others ...*Tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sources == nil {
		t.sources = map[string]int{}
	}
	for _, o := range others {
		o.mu.Lock()
		t.requests += o.requests
		t.failures = append(t.failures, o.failures...)
		t.took = append(t.took, o.took...)
		for s, n := range o.sources {
			t.sources[s] += n
		}
		o.mu.Unlock()
	}
}

// Requests returns how many there were.
func (t *Tally) Requests() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.requests
}

// Failed returns how many failed, and the first few reasons.
func (t *Tally) Failed() (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.failures), errors.Join(t.failures[:min(len(t.failures), 5)]...)
}

// Quantile returns how long requests that did not fail took: 0.5 is the median.
func (t *Tally) Quantile(q float64) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[min(int(q*float64(len(t.took))), len(t.took)-1)]
}

// Sources counts the answers by their Cache-Status.
func (t *Tally) Sources() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	sources := map[string]int{}
	for s, n := range t.sources {
		sources[s] = n
	}
	return sources
}

// Crowd asks the edge for every file of the site, at most so many at once, in an
// order that seed decides. It returns when all were asked for or ctx has ended.
func (e *Edge) Crowd(ctx context.Context, s *Site, atOnce int, seed uint64, t *Tally) {
	paths := s.Paths()
	rand.New(rand.NewPCG(seed, 3)).Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
	next := make(chan string)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for p := range next {
				t.Add(e.Fetch(ctx, s, p))
			}
		})
	}
	for _, p := range paths {
		select {
		case next <- p:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
}

// CrowdAll sends such a crowd to all the edges at once, each in an order of its own,
// and counts each edge's requests for itself.
func CrowdAll(ctx context.Context, edges []*Edge, s *Site, atOnce int) []*Tally {
	tallies := make([]*Tally, len(edges))
	var wg sync.WaitGroup
	for i, e := range edges {
		tallies[i] = &Tally{}
		wg.Go(func() { e.Crowd(ctx, s, atOnce, uint64(i), tallies[i]) })
	}
	wg.Wait()
	return tallies
}
