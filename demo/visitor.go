package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// perVisitor is how many connections a browser opens to one host.
	perVisitor = 6
	// maxConns bounds the connections of the whole crowd.
	maxConns = 256
)

// A crowd sends its visitors to a site on an edge.
type crowd struct {
	content  *content
	visitors []visitor
	site     string // the site's URL, which ends in a slash
	addr     string // where the edge listens
	tally    *tally
	conns    chan struct{} // one for each connection that may be open
}

// visit sends every visitor, each at their time, and returns when all are done or
// ctx ends. Whoever is under way then leaves without being counted.
func (c *crowd) visit(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	begin := time.Now()
	for _, v := range c.visitors {
		if !pause(ctx, v.arrives-time.Since(begin)) {
			return
		}
		all.Go(func() {
			if c.walk(ctx, v) {
				c.tally.leave()
			}
		})
	}
}

// walk is one visit: page after page over connections that are kept alive. It
// reports whether the visitor saw everything that they came for.
func (c *crowd) walk(ctx context.Context, v visitor) bool {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return c.dial(ctx, network)
		},
		MaxConnsPerHost:     perVisitor,
		MaxIdleConnsPerHost: perVisitor,
		DisableCompression:  true, // the bytes are compared as they are
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, l := range v.loads {
		if !pause(ctx, l.after) || !c.get(ctx, client, l.page) {
			return false
		}
		var group errgroup.Group
		group.SetLimit(perVisitor)
		for _, a := range l.assets {
			group.Go(func() error {
				c.get(ctx, client, a)
				return nil
			})
		}
		_ = group.Wait()
	}
	return ctx.Err() == nil
}

// dial connects to the edge whatever name the URL has: the name is the site's.
func (c *crowd) dial(ctx context.Context, network string) (net.Conn, error) {
	select {
	case c.conns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, c.addr)
	if err != nil {
		<-c.conns
		return nil, err
	}
	return &countedConn{Conn: conn, release: sync.OnceFunc(func() { <-c.conns })}, nil
}

// countedConn makes room for another connection when it is closed.
type countedConn struct {
	net.Conn
	release func()
}

func (c *countedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// get makes one request and counts how it went. It reports false when ctx ended
// first; that says nothing about the edge and is not counted.
func (c *crowd) get(ctx context.Context, client *http.Client, r request) bool {
	begin := time.Now()
	o := c.content.fetch(ctx, client, c.site, r)
	if ctx.Err() != nil {
		return false
	}
	o.took = time.Since(begin)
	c.tally.add(o)
	return true
}

// fetch makes one request of the site and compares the answer with the file.
func (c *content) fetch(ctx context.Context, client *http.Client, site string, r request) outcome {
	o := outcome{path: urlPath(r.file)}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(site, "/")+o.path, nil)
	if err != nil {
		o.err = err
		return o
	}
	want := http.StatusOK
	if r.part {
		want = http.StatusPartialContent
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.offset, r.offset+r.length-1))
	}
	res, err := client.Do(req)
	if err != nil {
		// The URL is in the RequestError already.
		o.err = errors.Unwrap(err)
		return o
	}
	defer res.Body.Close()
	o.status = res.StatusCode
	o.place = placeOf(strings.Join(res.Header.Values("Cache-Status"), ","))
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		o.err = fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(text)))
		return o
	}
	o.blocks = pathOf(res.Header)
	o.bytes, o.err = c.compare(r.file, r.offset, r.length, res.Body)
	return o
}

// pathOf returns the CIDs of the blocks on the way to an answer: of the root, of each
// folder, and of what was sent, which X-Ipfs-Roots leaves out for a folder's index.html.
func pathOf(h http.Header) (path []string) {
	for id := range strings.SplitSeq(h.Get("X-Ipfs-Roots")+","+strings.Trim(h.Get("ETag"), `"`), ",") {
		if id != "" && !slices.Contains(path, id) {
			path = append(path, id)
		}
	}
	return path
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
