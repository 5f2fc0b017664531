//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// promised is the memory that config.yaml promises of an edge with cache.memory=64MiB: that,
// an eighth of it, 64 MiB, and 32 MiB for answers that are made. The promise is kept up to a
// fifth more.
const promised = (64 + 8 + 64 + 32) << 20

// What strangers do to the public door of one edge, one attack after the other. While
// each goes on, a visitor is served from memory on a connection of its own, and the edge
// takes no more memory than it promises. Afterwards nothing of it is left.
func TestAttacks(t *testing.T) {
	if _, err := os.Stat("/proc/self/clear_refs"); err != nil {
		t.Skip("the peak of a process's memory is read from /proc")
	}
	a := attackedEdge(t)
	idle := a.gauge(t, "go_goroutines")
	a.unsent(t)
	for _, attack := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"bursts of large blocks that are not here", a.coldBursts},
		{"messages", a.malformed},
		{"pipelining", a.pipelined},
		{"redirects", a.redirects},
		{"cut exports", a.cutExports},
		{"long paths", a.longPaths},
		{"aborts", a.aborts},
		{"slow readers", a.slowReaders},
		{"rapid resets", a.rapidResets},
		{"headers without an end", a.endlessHeaders},
		{"pings and settings", a.controlFrames},
		{"header lists", a.headerLists},
		{"closed windows of large blocks", a.largeClosedWindows},
		{"many closed windows", a.manyClosedWindows},
	} {
		t.Run(attack.name, func(t *testing.T) { a.under(t, attack.do) })
	}
	a.ends.Wait()
	a.aftermath(t, idle)
}

// attacked is an edge under attack, and what it has.
type attacked struct {
	*edge
	page  string         // a path, and
	body  []byte         // what is there
	root  string         // of the website at www.example.org
	large []cid.Cid      // of the disk
	cold  []cid.Cid      // as large, and only the origin has them
	cut   string         // the path of a folder that lacks a block
	ends  sync.WaitGroup // of connections that must end
}

// attackedEdge starts an edge with a website, large blocks and a folder that lacks a block.
func attackedEdge(t *testing.T) *attacked {
	t.Helper()
	data := t.TempDir()
	first := start(t, data)
	dir, _ := website(t)
	root := first.add(dir)
	first.stop()
	page := rawNode(t, cid.Raw, []byte(strings.Repeat("<p>0123456789", 1000)))
	nodes := []ipld.Node{page}
	a := &attacked{root: root, page: "/ipfs/" + page.Cid().String(), body: page.RawData()}
	for i := range 256 {
		b := rawNode(t, cid.Raw, append([]byte(fmt.Sprint(i)), make([]byte, 1<<20)...))
		a.large, nodes = append(a.large, b.Cid()), append(nodes, b)
	}
	for i := range 400 {
		b := rawNode(t, cid.Raw, append([]byte(fmt.Sprint("cold", i)), make([]byte, 1<<20)...))
		a.cold, nodes = append(a.cold, b.Cid()), append(nodes, b)
	}
	folder, held := lackingFolder(t)
	a.cut = "/ipfs/" + folder.String()
	a.edge = start(t, data, "gateway.serve=any", "cache.memory=64MiB", "sites=[{host: www.example.org, content: /ipfs/"+root+"}]",
		"origins=[{type: car, path: "+carFile(t, append(nodes, held...)...)+"}]")
	a.honest(t)
	// What attacks is on the disk, but for the bursts.
	for _, c := range a.large {
		if got, err := a.Get(inTime(t), "127.0.0.1", "/ipfs/"+c.String()); err != nil || got.Status != http.StatusOK {
			t.Fatal(got.Status, err)
		}
	}
	return a
}

// coldBursts asks for many blocks at once that the origin answers at once.
func (a *attacked) coldBursts(t *testing.T) {
	var all sync.WaitGroup
	for _, c := range a.cold {
		all.Go(func() {
			if got, err := a.Get(inTime(t), "127.0.0.1", "/ipfs/"+c.String()); err != nil || got.Status != http.StatusOK {
				t.Error(got.Status, err)
			}
		})
	}
	all.Wait()
}

// under carries out an attack, and has a visitor measure what others feel of it.
func (a *attacked) under(t *testing.T, attack func(*testing.T)) {
	if err := os.WriteFile(filepath.Join("/proc", strconv.Itoa(a.PID()), "clear_refs"), []byte("5"), 0); err != nil {
		t.Logf("the peak of all before counts, too: %v", err)
	}
	over, stop := context.WithCancel(t.Context())
	var waited []time.Duration
	var visitor sync.WaitGroup
	visitor.Go(func() {
		for more := true; more; more = over.Err() == nil {
			waited = append(waited, a.honest(t))
			time.Sleep(2 * time.Millisecond)
		}
	})
	begin := time.Now()
	func() {
		defer visitor.Wait()
		defer stop()
		attack(t)
	}()
	took := time.Since(begin)
	slices.Sort(waited)
	p99 := waited[(len(waited)-1)*99/100]
	peak := peakMemory(t, a.PID())
	t.Logf("%v; %d visits beside it, p99 %v, longest %v; at most %d MiB of memory", took.Round(time.Millisecond), len(waited), p99, waited[len(waited)-1], peak>>20)
	// 50 ms are the goal. Machines differ, and what attacks runs on the same one: with few
	// visits, the longest wait is that of the attacker's own work.
	if p99 > 500*time.Millisecond && len(waited) >= 100 {
		t.Errorf("the 99th percentile of what a visitor waits is %v", p99)
	}
	if waited[len(waited)-1] > 10*time.Second {
		t.Errorf("a visitor waited %v", waited[len(waited)-1])
	}
	if peak > promised*12/10 {
		t.Errorf("the edge took %d MiB of memory; config.yaml says %d", peak>>20, promised>>20)
	}
}

// honest asks for a page as a visitor does and returns how long that took.
func (a *attacked) honest(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	got, err := a.Get(inTime(t), "127.0.0.1", a.page)
	if err != nil || got.Status != http.StatusOK || !bytes.Equal(got.Body, a.body) {
		t.Errorf("a visitor got %d, %d bytes, %v", got.Status, len(got.Body), err)
	}
	return time.Since(begin)
}

// gauge is a metric of the edge.
func (a *attacked) gauge(t *testing.T, name string) float64 {
	t.Helper()
	v, err := a.Metric(inTime(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// aftermath checks that nothing of the attacks is left.
func (a *attacked) aftermath(t *testing.T, goroutines float64) {
	a.honest(t)
	settled := func() bool {
		return a.gauge(t, "shoal_http_requests_in_flight") == 0 && a.gauge(t, "go_goroutines") < goroutines+100
	}
	if err := until(inTime(t), settled); err != nil {
		t.Errorf("%v requests are in flight, and of %v goroutines there are %v", a.gauge(t, "shoal_http_requests_in_flight"), goroutines, a.gauge(t, "go_goroutines"))
	}
	if lines := a.Log.Lines("panic"); len(lines) > 0 {
		t.Errorf("the log tells of a panic: %s", lines[0])
	}
}
