package demo

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// cids are the CIDs of the blocks on the way to files, as their responses named them:
// the root's, the folders' and the file's.
type cids struct{ sync.Map } // from a file's name to a []string

// A queue is a crowd that makes requests of a fleet in a fixed order, a number of
// them at a time. The edges take turns, so each gets an equal part.
type queue struct {
	content  *content
	requests []request
	edges    []string // their names
	sites    []string // URLs, one for each edge
	client   *http.Client
	tally    *tally
	known    *cids
	next     atomic.Int64

	// insist has a visitor whose edge does not answer go to the next one, as a
	// load balancer would have them.
	insist bool
	// reached is called with the number of each request before it is made; nil: no
	// one cares.
	reached func(int)
	// refused takes responses that an edge gave up on with a status of 5xx, in
	// place of the tally; nil: they are failures.
	refused func(refusal)
}

func (f *fleet) newQueue(requests []request) *queue {
	q := &queue{
		content: f.content, requests: requests, tally: newTally(), known: &f.known,
		client: &http.Client{Transport: &http.Transport{
			// The name is the site's; the port says which edge.
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				var d net.Dialer
				return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
			},
			MaxIdleConnsPerHost: f.Clients,
			DisableCompression:  true, // the bytes are compared as they are
		}},
	}
	for _, e := range f.edges {
		q.edges = append(q.edges, e.spec.Name)
		q.sites = append(q.sites, e.siteURL())
	}
	return q
}

func (q *queue) close() { q.client.CloseIdleConnections() }

// run makes all requests, clients at a time, and returns when they are answered or
// ctx ends. What is under way then is not counted.
func (q *queue) run(ctx context.Context, clients int) {
	var all sync.WaitGroup
	defer all.Wait()
	for range clients {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(q.next.Add(1)) - 1
				if i >= len(q.requests) {
					return
				}
				if q.reached != nil {
					q.reached(i)
				}
				q.get(ctx, i)
			}
		})
	}
}

// get makes the i-th request and counts how it went.
func (q *queue) get(ctx context.Context, i int) {
	begin, r, edge := time.Now(), q.requests[i], i%len(q.sites)
	o := q.ask(ctx, edge, r)
	for more := 1; q.insist && o.err != nil && o.status == 0 && more < len(q.sites); more++ {
		edge = (i + more) % len(q.sites)
		o = q.ask(ctx, edge, r)
		o.moved = true
	}
	if ctx.Err() != nil {
		return
	}
	o.took = time.Since(begin)
	if o.err == nil && len(o.blocks) > 0 {
		q.known.Store(r.file, o.blocks)
	}
	if q.refused != nil && o.status >= http.StatusInternalServerError {
		q.refused(refusal{r, edge})
		return
	}
	q.tally.add(o)
}

// ask makes a request of one edge.
func (q *queue) ask(ctx context.Context, edge int, r request) outcome {
	o := q.content.fetch(ctx, q.client, q.sites[edge], r)
	o.edge = q.edges[edge]
	return o
}
