//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

const (
	hotPages = 12
	fileSize = 200_000
)

// popular is an origin with a few hot pages among many files that are asked for once.
type popular struct {
	*rig
	files int
}

func newPopular(t *testing.T, files, edges int, set ...string) *popular {
	t.Helper()
	site, err := lab.NewArchive(11, hotPages, files, fileSize)
	if err != nil {
		t.Fatal(err)
	}
	origin, err := lab.NewOrigin("", site)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(origin.Close)
	set = append([]string{"cache.memory=32MiB", "cache.disk=64MiB", "gateway.serve=any"}, set...)
	fleet, err := lab.NewFleet(inTime(t), binary, t.TempDir(), origin.URL(), set...)
	if err != nil {
		t.Fatal(err)
	}
	p := &popular{&rig{fleet, t, site, origin}, files}
	t.Cleanup(p.close)
	if err := fleet.Start(inTime(t), edges); err != nil {
		t.Fatal(err)
	}
	return p
}

// restart stops an edge, waits for its end and starts it again.
func (p *popular) restart(i int) *lab.Edge {
	p.t.Helper()
	if code, err := p.Edges[i].Stop(inTime(p.t)); err != nil || code != 0 {
		p.t.Fatalf("stop: exit code %d, %v", code, err)
	}
	e, err := p.Restart(inTime(p.t), i)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := e.WaitAlive(inTime(p.t), len(p.Edges)); err != nil {
		p.t.Fatal(err)
	}
	return e
}

func (p *popular) path(format string, i int) string {
	return p.site.Root.String() + "/" + fmt.Sprintf(format, i)
}

// visit asks the edge for every file once, in order, and meanwhile for each page so many
// times.
func (p *popular) visit(e *lab.Edge, times int) {
	p.t.Helper()
	asked := 0
	for i := range p.files {
		p.fetch(e, "file-%d.bin", i)
		for ; asked*p.files < times*(i+1); asked++ {
			for page := range hotPages {
				p.fetch(e, "page-%d.html", page)
			}
		}
	}
}

func (p *popular) fetch(e *lab.Edge, format string, i int) {
	p.t.Helper()
	if _, err := e.Fetch(inTime(p.t), p.site, p.path(format, i)); err != nil {
		p.t.Fatal(err)
	}
}

// served counts the hot pages, or the files from first on, that the edge serves.
func (p *popular) served(e *lab.Edge, format string, first, count int) (n int) {
	for i := first; i < first+count; i++ {
		if _, err := e.Fetch(inTime(p.t), p.site, p.path(format, i)); err == nil {
			n++
		} else {
			p.t.Log(err)
		}
	}
	return n
}

// What is popular is still on the disk after a clean restart, and so is the folder that
// leads to everything, although memory answered for it all the while.
func TestPopularPagesStayOnDisk(t *testing.T) {
	p := newPopular(t, 500, 1)
	p.visit(p.Edges[0], 100)
	p.origin.Off()
	e := p.restart(0)
	if n := p.served(e, "page-%d.html", 0, hotPages); n != hotPages {
		t.Errorf("%d of %d hot pages are served", n, hotPages)
	}
	if n := p.served(e, "file-%d.bin", p.files-100, 100); n < 95 {
		t.Errorf("%d of the last 100 files are served", n)
	}
}

// Visitors come to one edge only; the other learns from it what is popular.
func TestPopularPagesStayInTheFleet(t *testing.T) {
	p := newPopular(t, 990, 2)
	a, b := p.Edges[0], p.Edges[1]
	p.visit(b, 200)
	p.origin.Off()
	p.everyWay(b)
	if n := p.served(a, "page-%d.html", 0, hotPages); n != hotPages {
		t.Errorf("%d of %d hot pages are served by the other edge", n, hotPages)
	}
	b = p.restart(1)
	if n := p.served(b, "page-%d.html", 0, hotPages); n != hotPages {
		t.Errorf("%d of %d hot pages are served after a restart", n, hotPages)
	}
}

// everyWay asks for the hot pages as hits are not asked for.
func (p *popular) everyWay(e *lab.Edge) {
	p.t.Helper()
	for i := range hotPages {
		path := p.path("page-%d.html", i)
		if a, err := e.Fetch(inTime(p.t), p.site, path); err != nil || a.Status != http.StatusOK {
			p.t.Errorf("%s: %v", path, err)
		}
		// Nobody asked for it at this time yet, so this is not a plain request.
		a := p.ask(e, path, "If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")
		if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusNotModified {
			p.t.Errorf("%s with If-Modified-Since: status %d", path, a.StatusCode)
		}
		file := strings.Trim(a.Header.Get("Etag"), `W/"`)
		if a := p.ask(e, file); a.StatusCode != http.StatusOK {
			p.t.Errorf("%s under its own CID: status %d", path, a.StatusCode)
		}
		if a := p.ask(e, path, "Accept", "application/vnd.ipld.raw"); a.StatusCode != http.StatusOK {
			p.t.Errorf("%s as a block: status %d", path, a.StatusCode)
		}
		if a := p.ask(e, path, "Accept", "application/vnd.ipld.car"); a.StatusCode != http.StatusOK {
			p.t.Errorf("%s as a CAR: status %d", path, a.StatusCode)
		}
		if a := p.ask(e, path, "Cache-Control", "only-if-cached"); a.StatusCode != http.StatusOK {
			p.t.Errorf("%s only if cached: status %d", path, a.StatusCode)
		}
		w, err := e.Where(inTime(p.t), file)
		if err != nil || len(w.Holders) == 0 {
			p.t.Errorf("%s: held by %v, %v", path, w.Holders, err)
		}
	}
}

// ask sends a request with a header and reads the answer away.
func (p *popular) ask(e *lab.Edge, path string, header ...string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(inTime(p.t), http.MethodGet, "http://"+e.Gateway+"/ipfs/"+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// With the origin there, a restart costs it next to nothing for what is popular.
func TestRestartFetchesNothingPopularAgain(t *testing.T) {
	p := newPopular(t, 990, 2)
	p.visit(p.Edges[1], 200)
	b := p.restart(1)
	p.origin.Reset()
	if n := p.served(b, "page-%d.html", 0, hotPages); n != hotPages {
		t.Errorf("%d of %d hot pages are served", n, hotPages)
	}
	if total, _ := p.origin.Fetches(); total > 2 {
		t.Errorf("%d requests at the origin for the hottest pages", total)
	}
}
