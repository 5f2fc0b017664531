package gateway

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/block"
)

func TestCacheStatus(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	root := website(t, e.shelf)
	url := "http://127.0.0.1/ipfs/" + root.String() + "/css/site.css"
	for _, tc := range []struct {
		src   block.Source
		want  string
		timed string
	}{
		{block.Memory, "shoal; hit", `^total;dur=[0-9.]+$`},
		{block.Disk, "shoal; fwd=uri-miss; detail=disk", `^total;dur=[0-9.]+$`},
		{block.Sibling, "shoal; fwd=uri-miss; detail=sibling", `^total;dur=[0-9.]+$`},
		{block.Origin, "shoal; fwd=uri-miss; detail=origin", `^total;dur=[0-9.]+, origin;dur=[0-9.]+$`},
	} {
		e.shelf.from(tc.src)
		a := e.get(url, "Cache-Status: forged; hit").want(t, 200, "body{}").header(t, "Cache-Status", tc.want)
		if len(a.Header.Values("Cache-Status")) != 1 || !regexp.MustCompile(tc.timed).MatchString(a.Header.Get("Server-Timing")) {
			t.Errorf("%s: %v", tc.src, a.Header)
		}
	}
	// One block from far away is enough.
	e.shelf.from(block.Memory)
	leaf := e.shelf.child(t, root, "css", "site.css")
	e.shelf.put(leaf, []byte("body{}"), block.Sibling)
	e.get(url).header(t, "Cache-Status", "shoal; fwd=uri-miss; detail=sibling")
	e.get("http://localhost/ipfs/"+root.String()).want(t, 301, "").header(t, "Cache-Status", "shoal; detail=none")
	e.get("http://127.0.0.1/ipfs/bad").want(t, 400, "").header(t, "Cache-Status", "shoal; detail=none")
	e.do("BREW", url).want(t, 405, "").header(t, "Cache-Status", "shoal; detail=none")
}

func TestMetrics(t *testing.T) {
	e := newEdge(t, func(o *Options, e *edge) {
		o.HotBytes = 0
		root := website(t, e.shelf)
		o.Sites = []Site{{"www.example.org", "/ipfs/" + root.String()}}
	})
	e.get("http://www.example.org/css/site.css").want(t, 200, "")
	e.shelf.from(block.Origin)
	e.get("http://www.example.org/css/site.css").want(t, 200, "")
	for i := range 20 {
		e.do(fmt.Sprintf("M%d", i), fmt.Sprintf("http://h%d.example/", i))
	}
	for series, want := range map[string]float64{
		`shoal_http_requests_total{cache=hit,code=200,method=GET,site=www.example.org}`:    1,
		`shoal_http_requests_total{cache=origin,code=200,method=GET,site=www.example.org}`: 1,
		`shoal_http_requests_total{cache=none,code=405,method=other,site=other}`:           20,
		`shoal_blocks_total{source=memory}`:                                                3,
		`shoal_blocks_total{source=origin}`:                                                3,
		`shoal_http_request_seconds{cache=hit}`:                                            1,
		`shoal_http_first_byte_seconds{cache=origin}`:                                      1,
		`shoal_http_requests_in_flight{}`:                                                  0,
	} {
		if got, ok := e.series(t)[series]; !ok || got != want {
			t.Errorf("%s: got %v, want %v; of %v", series, got, want, e.series(t))
		}
	}
	if got := e.series(t)[`shoal_block_bytes_total{source=origin}`]; got < 100 {
		t.Errorf("%v bytes from the origin", got)
	}
	families, _ := e.reg.Gather()
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "shoal_") {
			t.Errorf("metric %s is not ours", f.GetName())
		}
	}
}

// series returns what the edge's registry holds; of histograms the count.
func (e *edge) series(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			v := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			out[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = v
		}
	}
	return out
}

func TestAccessLog(t *testing.T) {
	e := newEdge(t, nil)
	root := website(t, e.shelf)
	e.shelf.from(block.Origin)
	e.get("http://127.0.0.1:80/ipfs/"+root.String()+"/css/site.css?a=b", "User-Agent: curl/9\nforged=1")
	line := e.log.String()
	for _, want := range []string{
		"msg=request", "method=GET", "host=127.0.0.1:80", "status=200", "bytes=6", "cache=origin", "origin_blocks=3",
		"site=address", `agent="curl/9\nforged=1"`, "client=192.0.2.1", "/css/site.css?a=b",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("no %s in %s", want, line)
		}
	}
	if strings.Count(line, "\n") != 1 {
		t.Errorf("more than one line: %q", line)
	}
}

// A deep path is resolved from the root again and again; the blocks are read once.
func TestBlocksAreReadOncePerRequest(t *testing.T) {
	e := newEdge(t, nil)
	root := e.shelf.tree(t, map[string]string{"a/b/c/d/e/f.txt": "deep"})
	e.shelf.from(block.Origin)
	before := e.shelf.gets()
	e.get("http://127.0.0.1/ipfs/"+root.String()+"/a/b/c/d/e/f.txt").want(t, 200, "deep")
	if n := e.shelf.gets() - before; n > 9 {
		t.Errorf("7 blocks took %d reads", n)
	}
}

func TestTwoGatewaysNeedTwoRegistries(t *testing.T) {
	e := newEdge(t, nil)
	_, err := New(DefaultOptions(), Deps{Blocks: e.shelf, Names: e.names, Log: e.Gateway.log, Registry: e.reg})
	if err == nil {
		t.Fatal("registered twice")
	}
}

func TestCodecOfTheAsker(t *testing.T) {
	e := newEdge(t, nil)
	c := e.shelf.raw(t, cid.Raw, []byte("bytes"))
	asDAG := cid.NewCidV1(cid.DagJSON, c.Hash())
	e.get("http://127.0.0.1/ipfs/"+asDAG.String()+"?format=raw").want(t, 200, "bytes")
}
