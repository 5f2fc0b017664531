package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// policyEdge has a site, a site given by a name, something pinned, and a
// stranger's content that its shelf could serve.
type policyEdge struct {
	*edge
	site, named, pinned, stranger cid.Cid
}

func newPolicyEdge(t *testing.T, serve ServePolicy) *policyEdge {
	p := &policyEdge{}
	p.edge = newEdge(t, func(o *Options, e *edge) {
		p.site = website(t, e.shelf)
		p.named = e.shelf.tree(t, map[string]string{"index.html": "named", "in/side.txt": "inside a named site"})
		p.pinned = e.shelf.tree(t, map[string]string{"index.html": "pinned"})
		p.stranger = e.shelf.tree(t, map[string]string{"index.html": "stranger"})
		e.names.set("key.example.net", "/ipfs/"+p.named.String())
		e.names.set("else.example.net", "/ipfs/"+p.stranger.String())
		e.pins[p.pinned] = true
		o.Serve = serve
		o.Sites = []Site{
			{"www.example.org", "/ipfs/" + p.site.String()},
			{"named.example.org", "/ipns/key.example.net"},
		}
	})
	return p
}

// doors are the ways to ask for a CID.
func doors(c cid.Cid) []string {
	return []string{
		"http://127.0.0.1/ipfs/" + c.String(),
		"http://127.0.0.1/ipfs/" + c.String() + "/",
		"http://127.0.0.1/ipfs/" + c.String() + "/index.html",
		"http://127.0.0.1/ipfs/" + c.String() + "?format=raw",
		"http://127.0.0.1/ipfs/" + c.String() + "?format=car",
		"http://127.0.0.1/ipfs/" + c.String() + "?format=tar",
		"http://gw.example.org/ipfs/" + c.String() + "/",
		"http://" + c.String() + ".ipfs.localhost/",
		"http://" + c.String() + ".ipfs.localhost/index.html",
	}
}

func TestServePolicy(t *testing.T) {
	for _, serve := range []ServePolicy{ServePinned, ServeSites, ServeAny} {
		t.Run(string(serve), func(t *testing.T) {
			p := newPolicyEdge(t, serve)
			p.get("http://www.example.org/").want(t, 200, "home")
			p.get("http://named.example.org/").want(t, 200, "named")
			for _, tc := range []struct {
				name string
				c    cid.Cid
				ok   bool
			}{
				{"pinned", p.pinned, true},
				{"site", p.site, serve != ServePinned},
				{"named site", p.named, serve != ServePinned},
				{"stranger", p.stranger, serve == ServeAny},
			} {
				for _, url := range doors(tc.c) {
					before := p.shelf.gets()
					a := p.get(url)
					if ok := a.StatusCode < 400; ok != tc.ok {
						t.Errorf("%s: %s: %d %s", tc.name, url, a.StatusCode, a.body)
					}
					if tc.ok {
						continue
					}
					a.want(t, 403, "gateway.serve: "+string(serve))
					if tc.name == "stranger" && serve == ServePinned && p.shelf.gets() != before {
						t.Errorf("%s: refused, and yet fetched", url)
					}
				}
			}
		})
	}
}

func TestRefusedContentIsNotFetched(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	p.get(doors(p.stranger)[0]).want(t, 403, "its sites and pinned content")
	p.shelf.mu.Lock()
	defer p.shelf.mu.Unlock()
	if n := p.shelf.asked[string(p.stranger.Hash())]; n != 0 {
		t.Errorf("asked for it %d times", n)
	}
}

func TestInnerCIDs(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	css := p.shelf.child(t, p.site, "css")
	leaf := p.shelf.child(t, p.site, "css", "site.css")
	named := p.shelf.child(t, p.named, "in", "side.txt")
	p.shelf.from(block.Origin)
	p.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 200, "body{}")
	walked := p.shelf.gets()
	p.get("http://127.0.0.1/ipfs/"+css.String()+"/site.css").want(t, 200, "body{}")
	p.get("http://127.0.0.1/ipfs/"+named.String()+"?format=raw").want(t, 200, "inside a named site")
	p.get("http://"+leaf.String()+".ipfs.localhost/").want(t, 200, "body{}")
	// Leaves are known from the links: the walk read folders only, and those of big.txt.
	p.shelf.mu.Lock()
	if n := p.shelf.asked[string(named.Hash())]; n > 2 {
		t.Errorf("a leaf was read %d times", n)
	}
	p.shelf.mu.Unlock()
	for i := range 50 {
		c := testCID(t, fmt.Sprint("guess", i))
		p.get("http://127.0.0.1/ipfs/"+c.String()).want(t, 403, "gateway.serve")
	}
	if n := p.shelf.gets() - walked; n > 12 {
		t.Errorf("guesses led to %d reads", n)
	}
}

func testCID(t *testing.T, data string) cid.Cid {
	t.Helper()
	mh, err := multihash.Sum([]byte(data), multihash.SHA2_256, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

func TestNamesOfStrangersAreNotLookedUp(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	key, _ := ipnsRecord(t, "/ipfs/"+p.stranger.String())
	for _, url := range []string{
		"http://127.0.0.1/ipns/else.example.net/",
		"http://127.0.0.1/ipns/else.example.net?format=car",
		"http://127.0.0.1/ipns/" + key.String(),
		"http://127.0.0.1/ipns/" + key.String() + "?format=ipns-record",
		"http://127.0.0.1/ipns/" + key.Peer().String() + "/",
		"http://else-example-net.ipns.localhost/",
		"http://" + key.String() + ".ipns.localhost/",
	} {
		p.get(url).want(t, 403, "this edge serves only the names of its sites")
	}
	p.get("http://else.example.net/").want(t, 404, "neither a site nor one of gateway.hosts")
	p.get("http://localhost/ipns/else.example.net/").want(t, 301, "")
	if n := p.names.asked(); n != 0 {
		t.Errorf("%d lookups", n)
	}
	p.get("http://127.0.0.1/ipns/key.example.net/in/side.txt").want(t, 200, "inside")
	p.get("http://127.0.0.1/ipns/www.example.org/").want(t, 200, "home")
}

func TestPinnedPolicyServesSitesByHostOnly(t *testing.T) {
	p := newPolicyEdge(t, ServePinned)
	p.get("http://127.0.0.1/ipns/www.example.org/").want(t, 200, "home")
	p.get("http://127.0.0.1/ipns/key.example.net/").want(t, 403, "gateway.serve: pinned")
}

func TestPathsCannotLeaveTheirRoot(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	p.get("http://www.example.org/../../ipfs/"+p.pinned.String()+"/").want(t, 400, "leads out")
	p.get("http://www.example.org/%2e%2e/%2e%2e/ipfs/"+p.pinned.String()+"/").want(t, 400, "leads out")
	p.get("http://127.0.0.1/ipfs/"+p.pinned.String()+"/../"+p.stranger.String()+"/").want(t, 400, "leads out")
	p.get("http://"+p.pinned.String()+".ipfs.localhost/../"+p.stranger.String()+"/").want(t, 400, "leads out")
	p.get("http://127.0.0.1/ipfs/"+p.site.String()+"/css/../css/site.css").want(t, 200, "body{}")
}

func TestOnlyPartOfACIDIsASite(t *testing.T) {
	var root cid.Cid
	e := newEdge(t, func(o *Options, e *edge) {
		root = website(t, e.shelf)
		o.Serve = ServeSites
		o.Sites = []Site{{"docs.example.org", "/ipfs/" + root.String() + "/docs"}}
	})
	e.get("http://docs.example.org/guide/a.txt").want(t, 200, "a guide")
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/docs/guide/a.txt").want(t, 200, "a guide")
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/css/site.css").want(t, 403, "gateway.serve: sites")
	docs := e.shelf.child(t, root, "docs")
	e.get("http://127.0.0.1/ipfs/"+docs.String()+"/guide/a.txt").want(t, 200, "a guide")
}

func TestFormerRootOfASiteIsRefused(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Serve = ServeSites })
	one := e.shelf.tree(t, map[string]string{"a/x.txt": "one"})
	two := e.shelf.tree(t, map[string]string{"a/x.txt": "two"})
	set := func(c cid.Cid) {
		if err := e.SetSites([]Site{{"a.example.org", "/ipfs/" + c.String()}}); err != nil {
			t.Fatal(err)
		}
	}
	set(one)
	inner := e.shelf.child(t, one, "a")
	e.get("http://127.0.0.1/ipfs/"+inner.String()+"/x.txt").want(t, 200, "one")
	set(two)
	e.get("http://127.0.0.1/ipfs/"+one.String()+"/").want(t, 403, "")
	e.get("http://127.0.0.1/ipfs/"+inner.String()+"/x.txt").want(t, 403, "")
	e.get("http://127.0.0.1/ipfs/"+e.shelf.child(t, two, "a").String()+"/x.txt").want(t, 200, "two")
}

func TestAFailedWalkIsNotRepeatedAtOnce(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	css := p.shelf.child(t, p.site, "css")
	leaf := p.shelf.child(t, p.site, "css", "site.css")
	var tries atomic.Int64
	p.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Equals(css) {
			tries.Add(1)
			return &block.UnavailableError{Cid: c, From: "origin http://10.9.8.7", Err: errors.New("down")}
		}
		return nil
	})
	for range 10 {
		p.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 503, "still being read").header(t, "Retry-After", "10")
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("walked %d times", n)
	}
}

func TestATreeTooLargeIsGivenUp(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	p.trees.most = 5
	leaf := p.shelf.child(t, p.site, "css", "site.css")
	p.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 403, "")
	p.get("http://www.example.org/css/site.css").want(t, 200, "body{}")
	if !strings.Contains(p.log.String(), "more than 5 blocks") {
		t.Error("the operator was not told")
	}
}

func TestMissingBranchDoesNotHideTheRest(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	leaf := p.shelf.child(t, p.site, "css", "site.css")
	p.shelf.drop(p.shelf.child(t, p.site, "docs"))
	p.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 200, "body{}")
}

// What a publisher links to may be large as nodes, and may link to itself by other
// names; a stranger's question costs what the bytes of the blocks do.
func TestWalkOfHostileBlocks(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Serve = ServeSites })
	e.trees.wait = time.Hour
	arrays := append([]byte{0x9a, 0, 0x1f, 0xff, 0xf0}, bytes.Repeat([]byte{0x80}, 1<<21-16)...)
	var folder []byte
	for i := range 32 {
		arrays[5+i] = 0xf6
		c := e.shelf.raw(t, cid.DagCBOR, bytes.Clone(arrays)).Bytes()
		folder = append(append(folder, 0x12, byte(len(c)+2), 0x0a, byte(len(c))), c...)
	}
	leaf := e.shelf.raw(t, cid.Raw, []byte("leaf")).Bytes()
	folder = append(append(folder, 0x12, byte(len(leaf)+2), 0x0a, byte(len(leaf))), leaf...)
	var before, after runtime.MemStats
	made := bytes.Repeat([]byte{0x12, 6, 0x0a, 4, 1, 0x55, 0, 0}, block.MaxSize/8)
	for host, root := range map[string]cid.Cid{
		"arrays.example.org": e.shelf.raw(t, cid.DagProtobuf, folder),
		"links.example.org":  e.shelf.raw(t, cid.DagProtobuf, made),
	} {
		if err := e.SetSites([]Site{{host, "/ipfs/" + root.String()}}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&before)
		e.get("http://127.0.0.1/ipfs/bafkreibqgaydambqgaydambqgaydambqgaydambqgaydambrge2tambqga").want(t, 403, "")
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: %d bytes allocated", host, n)
		}
		if host == "arrays.example.org" {
			e.get("http://127.0.0.1/ipfs/"+cid.MustParse(leaf).String()).want(t, 200, "leaf")
		}
	}
	if !strings.Contains(e.log.String(), "more than 65536 links") {
		t.Error("the operator was not told")
	}
}

func TestWalkFollowsIPLDLinks(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) { o.Serve = ServeSites })
	leaf := e.shelf.raw(t, cid.Raw, []byte("leaf"))
	doc := e.shelf.raw(t, cid.DagJSON, []byte(`{"x":[{"/":"`+leaf.String()+`"}]}`))
	if err := e.SetSites([]Site{{"doc.example.org", "/ipfs/" + doc.String()}}); err != nil {
		t.Fatal(err)
	}
	e.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 200, "leaf")
}

func TestIdentityCIDs(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	mh, _ := multihash.Sum([]byte("<script>"), multihash.IDENTITY, -1)
	p.get("http://127.0.0.1/ipfs/"+cid.NewCidV1(cid.Raw, mh).String()).want(t, 403, "")
	p.get("http://127.0.0.1/ipfs/bafkqaaa?format=raw").want(t, 200, "")
	open := newEdge(t, nil)
	open.get("http://127.0.0.1/ipfs/"+cid.NewCidV1(cid.Raw, mh).String()).want(t, 200, "<script>")
}

func TestSiteRootsSurviveAFailingResolver(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	p.get("http://named.example.org/").want(t, 200, "named")
	p.names.mu.Lock()
	p.names.fail = errors.New("resolver down")
	p.names.mu.Unlock()
	s, _ := p.sites.Load().lookup("named.example.org")
	s.unresolved()
	p.get("http://127.0.0.1/ipfs/"+p.named.String()+"/").want(t, 200, "named")
	if _, known, _ := s.current(time.Now()); !known {
		t.Error("the last root was forgotten")
	}
}

func TestCanonicalNames(t *testing.T) {
	name, _ := ipnsRecord(t, "/ipfs/bafkqaaa")
	for in, want := range map[string]string{
		name.Peer().String(): name.String(),
		name.String():        name.String(),
		"WWW.Example.ORG.":   "www.example.org",
	} {
		if got := canonicalName(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestOneWalkForAllWhoAskAndAfterAReload(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	sites := p.opts.Sites
	leaf := p.shelf.child(t, p.site, "css", "site.css")
	docs := p.shelf.child(t, p.site, "docs")
	var walks atomic.Int64
	p.shelf.hook(func(_ context.Context, c cid.Cid) error {
		if c.Equals(docs) {
			walks.Add(1)
		}
		return nil
	})
	var visitors sync.WaitGroup
	for i := range 40 {
		visitors.Go(func() {
			if i%10 == 0 {
				if err := p.SetSites(sites); err != nil {
					t.Error(err)
				}
			}
			p.get("http://127.0.0.1/ipfs/"+leaf.String()).want(t, 200, "body{}")
			p.get("http://127.0.0.1/ipfs/"+testCID(t, fmt.Sprint(i)).String()).want(t, 403, "")
		})
	}
	visitors.Wait()
	before, _ := p.sites.Load().lookup("named.example.org")
	if err := p.SetSites(sites); err != nil {
		t.Fatal(err)
	}
	if after, _ := p.sites.Load().lookup("named.example.org"); after != before {
		t.Error("a reload forgot what was known about a site")
	}
	if n := walks.Load(); n != 1 {
		t.Errorf("%d walks", n)
	}
}

func TestSiteRootsAreLookedUpOnce(t *testing.T) {
	p := newPolicyEdge(t, ServeSites)
	var visitors sync.WaitGroup
	for range 20 {
		visitors.Go(func() { p.get("http://127.0.0.1/ipfs/"+p.named.String()+"/").want(t, 200, "named") })
	}
	visitors.Wait()
	if n := p.names.asked(); n != 1 {
		t.Errorf("%d lookups", n)
	}
}
