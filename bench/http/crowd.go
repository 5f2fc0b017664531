package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// A crowd is a process of its own with an origin, and visitors who ask an edge for
// what nobody asked for before. The origin makes up the blocks as they are asked for
// and counts; it can be told to keep everyone waiting.
//
//	GET /ipfs/CID?format=raw                           what an edge asks an origin
//	GET /come?edge=ADDR&visitors=N[&hold=1][&path=P]   N visitors begin: with misses, or with P
//	GET /tally                                         a crowdTally, as JSON
//	GET /leave                                         the visitors stop, and the origin answers all
type crowd struct {
	salt [8]byte // so that no two crowds ask for the same blocks

	mu     sync.Mutex
	blocks map[string][]byte // by multihash, until they were asked for
	held   chan struct{}     // closed when the origin answers
	stop   context.CancelFunc
	gone   sync.WaitGroup

	made                                        atomic.Uint64
	fetched, waiting, answered, refused, failed atomic.Int64
	failure                                     atomic.Pointer[error] // the first
}

// crowdTally is what the crowd saw since it came.
type crowdTally struct {
	Fetched  int64 // blocks that the origin was asked for
	Waiting  int64 // visitors who wait now
	Answered int64
	Refused  int64 // 503
	Failed   int64
	Failure  string // the first one
}

// missSize is the length of a block that the crowd asks for, in bytes.
const missSize = 4 << 10

// refusedPause is how long a visitor who got 503 waits before the next request.
const refusedPause = 100 * time.Millisecond

// serveCrowd serves until it is killed.
func serveCrowd(addr string) error {
	c, err := newCrowd()
	if err != nil {
		return err
	}
	return http.ListenAndServe(addr, c.handler())
}

// newCrowd is a crowd that nobody came to yet.
func newCrowd() (*crowd, error) {
	c := &crowd{blocks: map[string][]byte{}, held: make(chan struct{}), stop: func() {}}
	close(c.held)
	_, err := rand.Read(c.salt[:])
	return c, err
}

func (c *crowd) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ipfs/{cid}", c.origin)
	mux.HandleFunc("GET /come", c.come)
	mux.HandleFunc("GET /tally", c.tally)
	mux.HandleFunc("GET /leave", c.leave)
	return mux
}

// origin answers an edge.
func (c *crowd) origin(w http.ResponseWriter, r *http.Request) {
	id, err := cid.Decode(r.PathValue("cid"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.fetched.Add(1)
	c.mu.Lock()
	data, held := c.blocks[string(id.Hash())], c.held
	delete(c.blocks, string(id.Hash()))
	c.mu.Unlock()
	select {
	case <-held:
	case <-r.Context().Done():
		return
	}
	if data == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.raw")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// next makes a block up that nobody asked for yet.
func (c *crowd) next() (cid.Cid, error) {
	data := make([]byte, missSize)
	copy(data, c.salt[:])
	binary.LittleEndian.PutUint64(data[len(c.salt):], c.made.Add(1))
	hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
	if err != nil {
		return cid.Undef, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks[string(hash)] = data
	return cid.NewCidV1(cid.Raw, hash), nil
}

func (c *crowd) come(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n, err := strconv.Atoi(q.Get("visitors"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = stop
	if q.Get("hold") != "" {
		c.held = make(chan struct{})
	}
	for _, figure := range []*atomic.Int64{&c.fetched, &c.answered, &c.refused, &c.failed} {
		figure.Store(0)
	}
	c.failure.Store(nil)
	for range n {
		c.gone.Go(func() {
			if err := c.visit(ctx, q.Get("edge"), q.Get("path")); err != nil {
				c.failed.Add(1)
				c.failure.CompareAndSwap(nil, &err)
			}
		})
	}
}

// visit asks until ctx ends; what it waits for then, it waits for to the end.
func (c *crowd) visit(ctx context.Context, edge, path string) error {
	conn, err := dial(edge)
	if err != nil {
		return err
	}
	defer conn.conn.Close()
	for ctx.Err() == nil {
		request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench.localhost\r\n\r\n", path)
		if path == "" {
			id, err := c.next()
			if err != nil {
				return err
			}
			request = fmt.Appendf(nil, "GET /ipfs/%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id)
		}
		c.waiting.Add(1)
		a, err := conn.ask(request)
		if err == nil {
			err = conn.drop(a.length)
		}
		c.waiting.Add(-1)
		switch {
		case err != nil:
			return err
		case a.status == http.StatusServiceUnavailable:
			c.refused.Add(1)
			sleep(ctx, refusedPause)
		case a.status != http.StatusOK:
			return fmt.Errorf("status %d", a.status)
		default:
			c.answered.Add(1)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (c *crowd) tally(w http.ResponseWriter, _ *http.Request) {
	t := crowdTally{Fetched: c.fetched.Load(), Waiting: c.waiting.Load(), Answered: c.answered.Load(), Refused: c.refused.Load(), Failed: c.failed.Load()}
	if err := c.failure.Load(); err != nil {
		t.Failure = (*err).Error()
	}
	_ = json.NewEncoder(w).Encode(t)
}

func (c *crowd) leave(http.ResponseWriter, *http.Request) {
	c.mu.Lock()
	c.stop()
	select {
	case <-c.held:
	default:
		close(c.held)
	}
	c.mu.Unlock()
	c.gone.Wait()
}

// crowdClient speaks with a crowd.
type crowdClient struct{ *server }

func (c crowdClient) call(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.addr+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.Join(fmt.Errorf("crowd: %s: %s", path, res.Status), res.Body.Close())
	}
	return res, err
}

// come has visitors begin with misses, or with a path of the site.
func (c crowdClient) come(ctx context.Context, edge *server, visitors int, hold bool, path string) error {
	query := []string{"edge=" + edge.addr, "visitors=" + strconv.Itoa(visitors), "path=" + path}
	if hold {
		query = append(query, "hold=1")
	}
	res, err := c.call(ctx, "/come?"+strings.Join(query, "&"))
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// tally returns what the crowd saw. A visitor who got a wrong answer is an error.
func (c crowdClient) tally(ctx context.Context) (t crowdTally, err error) {
	res, err := c.call(ctx, "/tally")
	if err != nil {
		return t, err
	}
	defer res.Body.Close()
	if err = json.NewDecoder(res.Body).Decode(&t); err == nil && t.Failed > 0 {
		err = fmt.Errorf("%d visitors failed: %s", t.Failed, t.Failure)
	}
	return t, err
}

// leave ends the visit and waits for the last answer.
func (c crowdClient) leave(ctx context.Context) error {
	res, err := c.call(ctx, "/leave")
	if err != nil {
		return err
	}
	return res.Body.Close()
}
