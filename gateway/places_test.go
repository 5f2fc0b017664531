package gateway

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
)

// wide is a folder of n files, in one block.
func (s *shelf) wide(t testing.TB, n int) cid.Cid {
	t.Helper()
	h := handmade{kind: unixfs.TDirectory, noSize: true, noSizes: true}
	file := s.raw(t, cid.Raw, []byte("x"))
	for i := range n {
		h.links = append(h.links, handmadeLink{cid: file, name: fmt.Sprintf("%05d", i), tsize: 1})
	}
	return s.handmade(t, h)
}

// integers is a dag-cbor list of n values.
func integers(n int) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0x9a}, uint32(n)), make([]byte, n)...)
}

// gate is a client that takes nothing of a body, and leaves when it is opened.
type gate struct {
	discardWriter
	arrived *atomic.Int32
	opened  <-chan struct{}
	once    sync.Once
}

func (w *gate) Write(p []byte) (int, error) {
	if w.status != 200 {
		return len(p), nil
	}
	w.once.Do(func() {
		w.arrived.Add(1)
		<-w.opened
	})
	return 0, io.ErrClosedPipe
}

// A hundred requests for the pages of a folder of 40 000 files and of dag-cbor values stay
// within the memory that all such answers have, and hits go on meanwhile.
func TestMadeAnswersHaveTheirPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(t, nil)
		root := website(t, e.shelf)
		hit := "http://127.0.0.1/ipfs/" + root.String() + "/css/site.css"
		e.get(hit).want(t, 200, "body{}")
		urls := []string{
			"/ipfs/" + e.shelf.wide(t, 40_000).String() + "/",
			"/ipfs/" + e.shelf.raw(t, cid.DagCBOR, append([]byte{0x99, 0x75, 0x30}, make([]byte, 30_000)...)).String() + "/", // 30 000 zeros
			"/ipfs/" + e.shelf.raw(t, cid.DagCBOR, integers(1_800_000)).String() + "/",
		}
		runtime.GC()
		var before, during runtime.MemStats
		runtime.ReadMemStats(&before)

		var arrived, busy atomic.Int32
		open := make(chan struct{})
		var crowd sync.WaitGroup
		for i := range 100 {
			crowd.Go(func() {
				w := &gate{discardWriter: discardWriter{header: http.Header{}}, arrived: &arrived, opened: open}
				r := newRequest("GET", "http://127.0.0.1"+urls[i%2])
				r.Header.Set("Accept", "text/html")
				e.ServeHTTP(w, r)
				if w.status == 503 && w.header.Get("Retry-After") != "" && w.header.Get("Cache-Control") == "no-store" {
					busy.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := arrived.Load(); n < 1 || n > 4 {
			t.Errorf("%d answers are being made at once", n)
		}
		runtime.GC()
		runtime.ReadMemStats(&during)
		used := int64(during.HeapAlloc) - int64(before.HeapAlloc)
		if taken := e.Generating(); taken > maxPages || used > taken+8<<20 {
			t.Errorf("%d bytes are used, %d have a place, of %d", used, taken, int64(maxPages))
		}
		for range 100 {
			e.get(hit).want(t, 200, "body{}")
		}
		time.Sleep(placePatience + time.Second)
		if n := busy.Load(); n < 95 {
			t.Errorf("%d were told to come back", n)
		}
		close(open)
		crowd.Wait()
		if n := e.Generating(); n != 0 {
			t.Errorf("%d bytes still have a place", n)
		}
		// A value that no place is large enough for has a page without it.
		a := e.get("http://127.0.0.1"+urls[2], "Accept: text/html").want(t, 200, "<html")
		if len(a.body) > 512<<10 {
			t.Errorf("a value of 1.8 MB is shown, in %d bytes", len(a.body))
		}
		if got := e.get("http://127.0.0.1"+urls[2]+"?format=dag-cbor").want(t, 200, "").body; len(got) != 1_800_005 {
			t.Errorf("its block has %d bytes", len(got))
		}
	})
}

// A path into a value is followed while it takes a place, and refused where it would take
// more than there is: by memory, or by the work that each name of the path costs anew.
func TestPathsIntoValues(t *testing.T) {
	e := newEdge(t, nil)
	leaf := e.shelf.raw(t, cid.Raw, []byte("at the end"))
	link := append([]byte("\xa1\x64link\xd8\x2a\x58\x25\x00"), leaf.Bytes()...)
	small := e.shelf.raw(t, cid.DagCBOR, link)
	e.get("http://127.0.0.1/ipfs/"+small.String()+"/link").want(t, 200, "at the end")
	e.get("http://127.0.0.1/ipfs/"+small.String()+"/none").want(t, 404, "")
	large := e.shelf.raw(t, cid.DagCBOR, integers(1_800_000))
	e.get("http://127.0.0.1/ipfs/"+large.String()+"/0").want(t, 422, "too large")
	text := e.shelf.raw(t, cid.DagCBOR, append(append([]byte("\xa2\x64text\x7a"), binary.BigEndian.AppendUint32(nil, 1<<20)...), append([]byte(strings.Repeat("x", 1<<20)), link[1:]...)...))
	e.get("http://127.0.0.1/ipfs/"+text.String()+strings.Repeat("/text", 65)).want(t, 422, "65 names")
	e.get("http://127.0.0.1/ipfs/"+text.String()+"/link").want(t, 200, "at the end")
	if n := e.Generating(); n != 0 {
		t.Errorf("%d bytes still have a place", n)
	}
}

// Names in a folder of 40 000 are found without decoding it, and so is what it lacks.
func TestNamesInWideFolders(t *testing.T) {
	e := newEdge(t, func(o *Options, _ *edge) { o.HotBytes = 0 })
	c := e.shelf.wide(t, 40_000)
	url := "http://127.0.0.1/ipfs/" + c.String()
	for name, status := range map[string]int{"/00000": 200, "/39999": 200, "/none": 404, "": 301} {
		e.get(url+name).want(t, status, "")
		used := testing.AllocsPerRun(1, func() { e.get(url+name).want(t, status, "") })
		if used > 2000 {
			t.Errorf("%q takes %.0f allocations", name, used)
		}
	}
}

// A place is taken once for a request, and given back whatever becomes of it.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(maxPages)
		request := func() (context.Context, *requestRecord) {
			rec := &requestRecord{start: time.Now()}
			return withRecord(context.Background(), rec), rec
		}
		a, first := request()
		b, second := request()
		if f := p.hold(a, maxPages); f != nil {
			t.Fatal(f)
		}
		if f := p.hold(a, 1); f != errCrowded {
			t.Errorf("more than there is: %v", f)
		}
		if f := p.hold(b, maxPages+1); f == nil || f.status != 422 {
			t.Errorf("more than there can be: %v", f)
		}
		got := make(chan *failure)
		go func() { got <- p.hold(b, 1) }()
		synctest.Wait()
		leavePlaces(first)
		if f := <-got; f != nil {
			t.Errorf("a place that became free: %v", f)
		}
		c, _ := request()
		begin := time.Now()
		if f := p.hold(c, maxPages); f != errCrowded || time.Since(begin) != placePatience {
			t.Errorf("waited %s for %v", time.Since(begin), f)
		}
		leavePlaces(second)
		leavePlaces(second)
		if n := p.taken.Load(); n != 0 {
			t.Errorf("%d bytes are taken", n)
		}
	})
}
