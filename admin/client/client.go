// Package client talks to the admin API of a running edge, for the command line
// and for programs.
//
// A [Client] is safe for concurrent use. Its errors are sentences for an operator:
// an edge that is not there, a token that is missing or wrong, or what the edge
// itself answered, as an [*Error].
package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// DefaultEdge is where an edge's admin API listens unless configured otherwise.
const DefaultEdge = "http://127.0.0.1:8081"

// maxAnswer bounds an answer other than an import's lines, in bytes.
const maxAnswer = 16 << 20

// Client calls one edge. Make one with [New].
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a client for the edge at the given URL (or host:port), which proves
// itself with token unless that is empty. It connects to nothing yet.
func New(edge, token string) (*Client, error) {
	text := edge
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	base, err := url.Parse(text)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("edge %q: expected a URL such as %s", edge, DefaultEdge)
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &Client{base: base, token: token, http: &http.Client{
		Transport: &http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: dialer.DialContext,
			// An edge that refuses says so before a long body is on its way.
			ExpectContinueTimeout: 5 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			WriteBufferSize:       256 << 10,
		},
		// The token is for this edge; no redirect is expected, and none followed.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Add sends body, of one of the types that package admin names, as an import.
// progress may be nil; it is called for each progress line of the edge. An error
// of body itself is returned wrapped. Body is closed if it is an io.Closer.
func (c *Client) Add(ctx context.Context, contentType string, body io.Reader, p task.Import, progress func(task.Progress)) (admin.AddResult, error) {
	query := url.Values{"pin": {strconv.FormatBool(p.Pin)}, "wrap": {strconv.FormatBool(p.Wrap)}, "progress": {strconv.FormatBool(progress != nil)}}
	if p.Name != "" {
		query.Set("name", p.Name)
	}
	source := &watchedReader{r: body}
	// The HTTP client waits for a read of the body that is under way, even when
	// the request is cancelled; on a pipe that can be forever.
	defer context.AfterFunc(ctx, func() { _ = source.Close() })()
	res, err := c.send(ctx, http.MethodPost, "/api/v1/add", query, source, http.Header{"Content-Type": {contentType}, "Expect": {"100-continue"}})
	if err != nil {
		return admin.AddResult{}, source.explain(ctx, err)
	}
	defer res.Body.Close()
	result, err := readLines(res.Body, progress)
	if err != nil {
		return admin.AddResult{}, source.explain(ctx, err)
	}
	return result, nil
}

// readLines reads the answer to an import up to its last line.
func readLines(r io.Reader, progress func(task.Progress)) (admin.AddResult, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	for {
		var line admin.AddLine
		if err := dec.Decode(&line); err != nil {
			return admin.AddResult{}, fmt.Errorf("the edge broke off before the import was complete, so nothing was kept: %w", err)
		}
		switch {
		case line.Error != nil:
			return admin.AddResult{}, &Error{Status: http.StatusOK, Reason: line.Error.Reason, Details: line.Error.Details}
		case line.AddResult != nil && line.CID != "":
			return *line.AddResult, nil
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		}
	}
}

// Purge makes the edge forget what path (a CID, or /ipfs/CID/path) names; with
// unpin also when an import keeps it, and with fleet its siblings too.
func (c *Client) Purge(ctx context.Context, path string, unpin, fleet bool) (task.PurgeResult, error) {
	query := url.Values{"path": {path}, "unpin": {strconv.FormatBool(unpin)}, "fleet": {strconv.FormatBool(fleet)}}
	return get[task.PurgeResult](ctx, c, http.MethodPost, "/api/v1/purge", query)
}

// Members returns the edges of the fleet, as the edge sees them.
func (c *Client) Members(ctx context.Context) (admin.MembersResult, error) {
	return get[admin.MembersResult](ctx, c, http.MethodGet, "/api/v1/swarm", nil)
}

// Where returns which edges a block is at home on and which hold it.
func (c *Client) Where(ctx context.Context, id string) (member.Whereabouts, error) {
	return get[member.Whereabouts](ctx, c, http.MethodGet, "/api/v1/swarm/where", url.Values{"cid": {id}})
}

// Reload has the edge read its settings again, and returns what changed.
func (c *Client) Reload(ctx context.Context) (task.Reloaded, error) {
	return get[task.Reloaded](ctx, c, http.MethodPost, "/api/v1/reload", nil)
}

// Stats returns the edge's figures.
func (c *Client) Stats(ctx context.Context) (admin.Stats, error) {
	return get[admin.Stats](ctx, c, http.MethodGet, "/api/v1/stats", nil)
}

// get sends a request without a body and decodes the JSON answer.
func get[T any](ctx context.Context, c *Client, method, path string, query url.Values) (T, error) {
	var answer T
	res, err := c.send(ctx, method, path, query, nil, http.Header{})
	if err != nil {
		return answer, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	return answer, nil
}

// send returns the response to a request, if it is a 200; the caller closes it.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader, header http.Header) (*http.Response, error) {
	target := *c.base
	target.Path += path
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	req.Header = header
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.refused(res)
}

// unreachable explains why there is no answer.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("ask %s: %w", c.base, cause)
	}
	// url.Error repeats the method and the whole query.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("no edge answers at %s: start one with `shoal serve`, or name another with --edge (%w)", c.base, err)
	}
	return fmt.Errorf("the connection to the edge at %s broke: %w", c.base, err)
}

// refused turns an error answer into an error.
func (c *Client) refused(res *http.Response) error {
	var answer problem.Answer
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil || answer.Error.Reason == "" {
		return fmt.Errorf("what answers at %s is not the admin API of an edge (%s): is --edge the address of admin.listen?", c.base, res.Status)
	}
	e := &Error{Status: res.StatusCode, Reason: answer.Error.Reason, Details: answer.Error.Details}
	if e.Reason == problem.Unauthorized {
		return fmt.Errorf("the edge at %s wants its admin.token: give it with --token or SHOAL_TOKEN (%w)", c.base, e)
	}
	return e
}

// Error is what an edge answered instead of doing what it was asked.
type Error struct {
	Status  int // of HTTP; 200 when an import failed under way
	Reason  problem.Reason
	Details string // for an operator
}

func (e *Error) Error() string { return e.Details }

// watchedReader remembers why reading a body failed: the HTTP client reports it as
// a broken connection, or not at all when the edge's answer comes first.
type watchedReader struct {
	r   io.Reader
	err atomic.Pointer[error]
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err.Store(&err)
	}
	return n, err
}

// Close lets the HTTP client end whoever writes the other end of a pipe.
func (w *watchedReader) Close() error {
	if c, ok := w.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// explain returns why a request with this body failed with err: first the caller
// who left, then the body itself, then whatever it led to.
func (w *watchedReader) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("import stopped: %w", cause)
	}
	if failed := w.err.Load(); failed != nil {
		return fmt.Errorf("read what to add: %w", *failed)
	}
	return err
}
