package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/routing"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/gateway/answer"
)

const secretAddress = "http://10.66.77.88:4001"

func TestFailedFetches(t *testing.T) {
	unavailable := func(c cid.Cid, retry time.Duration, err error) error {
		return &block.UnavailableError{Cid: c, From: "origin " + secretAddress, RetryAfter: retry, Err: err}
	}
	for _, tc := range []struct {
		name   string
		err    func(c cid.Cid) error
		status int
		text   string
		retry  string
	}{
		{"not found", func(c cid.Cid) error { return block.NotFound(c) }, 404, "was not found", ""},
		{"origin failed", func(c cid.Cid) error { return unavailable(c, 0, errors.New("refused")) }, 502, "the origin failed", "10"},
		{"origin busy", func(c cid.Cid) error { return unavailable(c, 1500*time.Millisecond, errors.New("429")) }, 503, "the origin is busy", "2"},
		{"wrong bytes", func(c cid.Cid) error { return fmt.Errorf("from %s: %w", secretAddress, block.ErrMismatch) }, 502, "wrong bytes", "10"},
		{"wrapped not found", func(c cid.Cid) error { return fmt.Errorf("at %s: %w", secretAddress, block.NotFound(c)) }, 404, "was not found", ""},
		{"time was up there", func(c cid.Cid) error {
			return fmt.Errorf("at %s: %w", secretAddress, context.DeadlineExceeded)
		}, 504, "not found in time", "10"},
		{"anything else", func(c cid.Cid) error { return errors.New("dial " + secretAddress) }, 502, "could not be fetched", "10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var root cid.Cid
			e := newEdge(t, func(o *Options, e *edge) {
				root = website(t, e.shelf)
				o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
			})
			css, leaf := e.shelf.child(t, root, "css"), e.shelf.child(t, root, "css", "site.css")
			for _, lost := range []cid.Cid{root, css, leaf} {
				e.shelf.hook(func(_ context.Context, c cid.Cid) error {
					if c.Equals(lost) {
						return tc.err(c)
					}
					return nil
				})
				for _, url := range []string{
					"http://127.0.0.1/ipfs/" + root.String() + "/css/site.css",
					"http://127.0.0.1/ipfs/" + root.String() + "/css/site.css?format=raw",
					"http://127.0.0.1/ipfs/" + root.String() + "/css/site.css?format=car",
					"http://" + root.String() + ".ipfs.localhost/css/site.css",
					"http://www.example.org/css/site.css",
				} {
					if lost == leaf && strings.HasSuffix(url, "=car") {
						continue // fails after the first byte, see TestCutShort
					}
					a := e.get(url, "Accept: text/html,*/*").want(t, tc.status, tc.text)
					a.header(t, "Retry-After", tc.retry).header(t, "Cache-Control", "no-store").header(t, "Etag", "").
						header(t, "Content-Type", "text/plain; charset=utf-8")
					if strings.Contains(fmt.Sprint(a.Header)+a.body, "10.66.77") {
						t.Errorf("%s shows an internal address: %s", url, a.body)
					}
				}
			}
			if strings.Contains(tc.err(root).Error(), secretAddress) && !strings.Contains(e.log.String(), secretAddress) {
				t.Error("the cause is not in the log")
			}
		})
	}
}

// A failure while the content type is sniffed is told before the header of an immutable
// file goes out.
func TestFailureWhileSniffing(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"page": lines(200)})
	page := e.shelf.child(t, root, "page")
	e.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Prefix().Codec == cid.Raw {
			return &block.UnavailableError{Cid: c, From: secretAddress, Err: errors.New("down")}
		}
		return nil
	})
	e.get("http://127.0.0.1/ipfs/"+page.String()).want(t, 502, "the origin failed").
		header(t, "Cache-Control", "no-store").header(t, "Etag", "").header(t, "Content-Disposition", "")
}

func TestMissingBlockIsNotAMissingPage(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = e.shelf.tree(t, map[string]string{
			"index.html": "app", "a/b.txt": "x", "_redirects": "/* /index.html 200\n",
		})
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	e.get("http://www.example.org/nowhere").want(t, 200, "app")
	e.shelf.drop(e.shelf.child(t, root, "a"))
	a := e.get("http://www.example.org/a/b.txt").want(t, 404, "was not found")
	if strings.Contains(a.body, "app") {
		t.Error("a lost block was answered with the fallback page")
	}
}

func TestBadCIDs(t *testing.T) {
	mh := func(code uint64, n, length int) cid.Cid {
		h, err := multihash.Sum(make([]byte, n), code, length)
		if err != nil {
			t.Fatal(err)
		}
		return cid.NewCidV1(cid.Raw, h)
	}
	e := newEdge(t, nil)
	for name, bad := range map[string]string{
		"malformed":          "bafkreigarbage",
		"not a CID":          "hello",
		"oversized identity": mh(multihash.IDENTITY, 200, -1).String(),
		"broken hash":        mh(multihash.MD5, 1, -1).String(),
		"short digest":       mh(multihash.SHA2_256, 1, 8).String(),
		"garbage":            "%01%02",
	} {
		for _, url := range []string{
			"http://127.0.0.1/ipfs/" + bad, "http://127.0.0.1/ipfs/" + bad + "/x?format=car",
			"http://gw.example.org/ipfs/" + bad, "http://127.0.0.1/ipfs/" + bad + "?format=raw",
		} {
			a := e.get(url)
			if a.StatusCode != 400 || len(a.body) > 500 || len(a.body) < 10 {
				t.Errorf("%s: %s: %d %q", name, url, a.StatusCode, a.body)
			}
		}
	}
	e.get("http://hello.ipfs.localhost/").want(t, 400, "")
	e.get("http://localhost/ipfs/hello").want(t, 400, "")
	if e.shelf.gets() != 0 {
		t.Error("a bad CID was asked for")
	}
}

func TestNameFailures(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Sites = []Site{{"dns.example.org", ContentDNSLink}} })
	e.get("http://dns.example.org/").want(t, 404, `name "dns.example.org" has no record`)
	e.get("http://127.0.0.1/ipns/none.example.net/").want(t, 404, "has no record")
	e.names.mu.Lock()
	e.names.fail = errors.New("dial " + secretAddress)
	e.names.mu.Unlock()
	for _, url := range []string{"http://dns.example.org/", "http://127.0.0.1/ipns/none.example.net/", "http://none.example.net/"} {
		a := e.get(url).want(t, 502, "could not be resolved")
		if strings.Contains(a.body, "10.66.77") {
			t.Errorf("%s: %s", url, a.body)
		}
	}
	e.names.mu.Lock()
	e.names.fail = fmt.Errorf("query: %w", context.DeadlineExceeded)
	e.names.mu.Unlock()
	e.get("http://dns.example.org/").want(t, 504, "not resolved in time")
	for err, status := range map[error]int{
		namesys.ErrResolveRecursion: 400, ipns.ErrInvalidName: 400, routing.ErrNotSupported: 501,
		routing.ErrNotFound: 404, namesys.ErrMissingDNSLinkRecord: 404,
	} {
		e.names.mu.Lock()
		e.names.fail = fmt.Errorf("resolve: %w", err)
		e.names.mu.Unlock()
		e.get("http://dns.example.org/").want(t, status, "name").header(t, "Cache-Control", "no-store")
	}
	key, _ := ipnsRecord(t, "/ipfs/bafkqaaa")
	e.get("http://127.0.0.1/ipns/"+key.String()+"?format=ipns-record").want(t, 404, "has no record")
}

func TestRetrievalTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		root := website(t, e.shelf)
		e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
			<-ctx.Done() // the origin hangs
			return fmt.Errorf("get from %s: %w", secretAddress, ctx.Err())
		})
		begin := time.Now()
		e.get("http://127.0.0.1/ipfs/"+root.String()+"/css/site.css").want(t, 504, "was not found in time")
		if took := time.Since(begin); took != e.opts.RetrievalTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestSlowBlocksShareTheTimeToFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		root := e.shelf.tree(t, map[string]string{"a/b/c/d/e/f.txt": "deep"})
		e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
			select {
			case <-time.After(8 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		begin := time.Now()
		e.get("http://127.0.0.1/ipfs/"+root.String()+"/a/b/c/d/e/f.txt").want(t, 504, "in time")
		if took := time.Since(begin); took != e.opts.RetrievalTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestClientGone(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	ctx, cancel := context.WithCancel(context.Background())
	e.shelf.hook(func(ctx context.Context, c cid.Cid) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	r := newRequest("GET", "http://127.0.0.1/ipfs/"+root.String()+"/").WithContext(ctx)
	w := &discardWriter{header: http.Header{}}
	e.ServeHTTP(w, r)
	if w.status != answer.StatusClientGone {
		t.Errorf("got %d", w.status)
	}
}

type discardWriter struct {
	header http.Header
	status int
}

func (w *discardWriter) Header() http.Header         { return w.header }
func (w *discardWriter) WriteHeader(code int)        { w.status = code }
func (w *discardWriter) Write(p []byte) (int, error) { return len(p), nil }

func TestMissesAreLimitedAndHitsAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, func(o *Options, e *edge) { o.MaxRequests = 3 })
		hot := e.shelf.tree(t, map[string]string{"index.html": "hot"})
		cold := e.shelf.tree(t, map[string]string{"index.html": "cold"})
		e.shelf.put(cold, e.shelf.blocks[string(cold.Hash())].data, block.Origin)
		release := make(chan struct{})
		e.shelf.hook(func(_ context.Context, c cid.Cid) error {
			if c.Equals(cold) {
				<-release
			}
			return nil
		})
		var waiting sync.WaitGroup
		for range 3 {
			waiting.Go(func() { e.get("http://127.0.0.1/ipfs/"+cold.String()+"/").want(t, 200, "cold") })
		}
		synctest.Wait()
		e.get("http://127.0.0.1/ipfs/"+cold.String()+"/").want(t, 503, "fetching too much").header(t, "Retry-After", "5")
		for range 10 {
			e.get("http://127.0.0.1/ipfs/"+hot.String()+"/").want(t, 200, "hot")
		}
		close(release)
		waiting.Wait()
		e.get("http://127.0.0.1/ipfs/"+cold.String()+"/").want(t, 200, "cold")
		if n := e.Waiting(); n != 0 {
			t.Errorf("%d places are still taken", n)
		}
	})
}

func TestMaxResponseSize(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.MaxResponseSize = 10_000 })
	root := website(t, e.shelf)
	for _, q := range []string{"/big.txt", "/big.txt?format=car", "?format=car", "?format=tar"} {
		e.get("http://127.0.0.1/ipfs/"+root.String()+q).want(t, 410, "10000 bytes")
	}
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/css/site.css").want(t, 200, "body{}")
}

func TestPanicsAreContained(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	e.shelf.hook(func(context.Context, cid.Cid) error { panic("boom at " + secretAddress) })
	a := e.get("http://127.0.0.1/ipfs/"+root.String()+"/").want(t, 500, "internal error")
	if strings.Contains(a.body, "boom") {
		t.Error(a.body)
	}
	if !strings.Contains(e.log.String(), "boom") || !strings.Contains(e.log.String(), "stack=") {
		t.Error("the panic is not in the log")
	}
	e.shelf.hook(nil)
	e.pins = nil
	e.Gateway.pins = panicky{}
	e.sites.Load().opts.Serve = ServePinned
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/").want(t, 500, "internal error")
}

type panicky struct{}

func (panicky) Pinned(cid.Cid) bool { panic("pins") }

func TestUnsupportedLinkInsideContent(t *testing.T) {
	e := newEdge(t, nil)
	h, _ := multihash.Sum([]byte("x"), multihash.MD5, -1)
	doc := e.shelf.raw(t, cid.DagJSON, []byte(`{"x":{"/":"`+cid.NewCidV1(cid.Raw, h).String()+`"}}`))
	e.get("http://127.0.0.1/ipfs/"+doc.String()+"/x").want(t, 400, "not supported")
}

func TestContentThatCannotBeRead(t *testing.T) {
	e := newEdge(t, nil)
	for name, tc := range map[string]struct {
		c      cid.Cid
		path   string
		status int
	}{
		"garbage as dag-pb":     {e.shelf.raw(t, cid.DagProtobuf, []byte("\xff\xffgarbage")), "", 422},
		"garbage, with a path":  {e.shelf.raw(t, cid.DagProtobuf, []byte("\xff\xffgarbage")), "/x", 422},
		"dag-pb but not UnixFS": {e.shelf.raw(t, cid.DagProtobuf, []byte{0x0a, 0x02, 0xff, 0xff}), "", 422},
		"garbage as dag-cbor":   {e.shelf.raw(t, cid.DagCBOR, []byte{0xff}), "/x", 422},
		"unknown codec":         {e.shelf.raw(t, 0x74, []byte("?")), "/x", 501},
		"a path into a file":    {e.shelf.raw(t, cid.Raw, []byte("x")), "/x", 404},
	} {
		for _, q := range []string{"", "?format=tar", "?format=json"} {
			a := e.get("http://127.0.0.1/ipfs/" + tc.c.String() + tc.path + q)
			if a.StatusCode == 500 || a.StatusCode < 400 {
				t.Errorf("%s%s: %d %s", name, q, a.StatusCode, a.body)
			}
			if q == "" && a.StatusCode != tc.status {
				t.Errorf("%s: got %d %s, want %d", name, a.StatusCode, a.body, tc.status)
			}
		}
	}
}
