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
	return e.get(ctx, host, path, func(body io.Reader, a *Answer) (err error) {
		a.Body, err = io.ReadAll(body)
		return err
	})
}

func (e *Edge) get(ctx context.Context, host, path string, read func(io.Reader, *Answer) error) (Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Gateway+path, nil)
	if err != nil {
		return Answer{}, err
	}
	req.Host = host
	start := time.Now()
	res, err := visitors.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("edge %s: %w", e.Name, err)
	}
	defer res.Body.Close()
	a := Answer{Status: res.StatusCode, Header: res.Header}
	err = read(res.Body, &a)
	a.Took = time.Since(start)
	if err != nil {
		err = fmt.Errorf("edge %s: %s: %w", e.Name, path, err)
	}
	return a, err
}

// Fetch asks for a file of a site and compares the bytes as they come. It keeps
// none of them.
func (e *Edge) Fetch(ctx context.Context, s *Site, path string) (Answer, error) {
	return e.get(ctx, "", "/ipfs/"+path, func(body io.Reader, a *Answer) error {
		if a.Status != http.StatusOK {
			reason, err := io.ReadAll(io.LimitReader(body, 200))
			return errors.Join(fmt.Errorf("status %d: %s", a.Status, reason), err)
		}
		return compare(body, s.Files[path])
	})
}

var errWrong = errors.New("wrong bytes")

// compare reads body to its end and reports whether it was as wanted.
func compare(body io.Reader, want []byte) error {
	buffer := make([]byte, min(len(want)+1, 128<<10))
	for at := 0; ; {
		n, err := body.Read(buffer)
		if n > len(want)-at || !bytes.Equal(buffer[:n], want[at:at+n]) {
			return fmt.Errorf("bytes %d to %d of %d: %w", at, at+n, len(want), errWrong)
		}
		at += n
		switch {
		case err == io.EOF && at == len(want):
			return nil
		case err == io.EOF:
			return fmt.Errorf("%d of %d bytes: %w", at, len(want), io.ErrUnexpectedEOF)
		case err != nil:
			return err
		}
	}
}

// Tally is what came of a number of requests. It is safe for concurrent use.
type Tally struct {
	mu       sync.Mutex
	requests int
	failures []error
	took     []time.Duration
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
}

// Join adds what others have counted.
func (t *Tally) Join(others ...*Tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range others {
		o.mu.Lock()
		t.requests += o.requests
		t.failures = append(t.failures, o.failures...)
		t.took = append(t.took, o.took...)
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
