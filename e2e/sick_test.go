//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/e2e/lab"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// tooLong is what no request may take here. What is tested takes a second at most where
// nothing else runs, and took 10 to 25 s when it was done wrongly.
const tooLong = 5 * time.Second

// forEver is how long an origin takes that accepts and never answers.
const forEver = time.Hour

// newBench makes a fleet without edges in front of an origin that has the sites.
func newBench(t *testing.T, sites ...*lab.Site) *rig {
	t.Helper()
	origin, err := lab.NewOrigin("", sites...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(origin.Close)
	fleet, err := lab.NewFleet(inTime(t), binary, t.TempDir(), origin.URL(), "cache.memory=16MiB", "cache.disk=64MiB")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{fleet, t, sites[0], origin}
	t.Cleanup(r.close)
	return r
}

// add starts one more edge.
func (r *rig) add(name string, set ...string) *lab.Edge {
	r.t.Helper()
	e, err := r.Add(inTime(r.t), name, set...)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

// ask sends a crowd for a site to the edges. No request fails or takes too long.
func (r *rig) ask(what string, site *lab.Site, edges ...*lab.Edge) {
	r.t.Helper()
	for i, tally := range lab.CrowdAll(inTime(r.t), edges, site, atOnce) {
		r.noneFailed(edges[i].Name, tally)
		slowest := tally.Quantile(1)
		r.t.Logf("%s: %s: %d requests, p99 %s, slowest %s", what, edges[i].Name, tally.Requests(), tally.Quantile(.99), slowest)
		if slowest > tooLong {
			r.t.Errorf("%s: %s took %s for a request", what, edges[i].Name, slowest)
		}
	}
}

// ready returns the answer of /readyz.
func (r *rig) ready(e *lab.Edge) (status int, text string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(inTime(r.t), http.MethodGet, "http://"+e.Admin+"/readyz", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(body))
}

// The origin accepts and never answers. What the third home has is served all the same.
func TestTheThirdHomeHasIt(t *testing.T) {
	shelf := lab.NewShelf(21, 60, 4<<10)
	r := newBench(t, shelf)
	third := r.add("edge-2")
	r.crowd(third) // which is alone, and now has everything
	r.origin.Delay(forEver)
	r.add("edge-0")
	r.add("edge-1")
	r.settled(r.Edges...)
	asked := 0
	for _, path := range shelf.Paths() {
		w, err := third.Where(inTime(t), path)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Homes) != 3 || w.Homes[2] != third.Name {
			continue
		}
		e := r.Edges[1+asked%2]
		asked++
		a, err := e.Fetch(inTime(t), shelf, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		t.Logf("edge %s, homes %v: %s", e.Name, w.Homes, a.Took)
		if a.Took > tooLong {
			t.Errorf("edge %s took %s", e.Name, a.Took)
		}
	}
	if asked == 0 {
		t.Fatal("no block has that edge as its third home")
	}
}

// One edge's own way to the origin is sick, in each of the ways there are. Neither its
// visitors nor those of the others notice, and its operator is told.
func TestOneSickOrigin(t *testing.T) {
	for _, what := range []string{"refused", "missing", "404", "hangs"} {
		t.Run(what, func(t *testing.T) {
			site, err := lab.NewSite(22, 60, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			other := lab.NewShelf(23, 60, 4<<10)
			r := newBench(t, site, other)
			own, err := lab.NewOrigin("") // has nothing
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(own.Close)
			setting := lab.OriginSetting(own.URL())
			switch what {
			case "refused":
				own.Off()
			case "missing":
				setting = "origins=[]"
			case "hangs":
				own.Delay(forEver)
			}
			e := r.add("edge-0", setting)
			r.add("edge-1")
			r.add("edge-2")
			r.settled(r.Edges...)
			r.ask("the sick edge", site, e)
			r.ask("its siblings", other, r.others(e)...)

			status, text := r.ready(e)
			t.Logf("/readyz: %d %s", status, text)
			if status != http.StatusOK || !strings.Contains(text, "lives off their origins") {
				t.Errorf("/readyz says %d %q", status, text)
			}
			if status, text := r.ready(r.Edges[1]); status != http.StatusOK || text != "ready" {
				t.Errorf("/readyz of a sibling that is well says %d %q", status, text)
			}
		})
	}
}

// mute is a member of the fleet, home to its share, that answers pings and no wants; or
// says that it has everything, and sends nothing.
type mute struct {
	network network.BitSwapNetwork
	claims  bool
}

// join has one join the fleet.
func (r *rig) join(name string, claims bool) {
	r.t.Helper()
	key, err := members.Identity(r.Secret, name)
	if err != nil {
		r.t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		r.t.Fatal(err)
	}
	o := members.DefaultOptions()
	o.Secret, o.Name, o.Weight = r.Secret, name, 64<<20
	for _, e := range r.Edges {
		friend, err := members.ParseStatic(e.Name + "@" + e.SwarmHostPort())
		if err != nil {
			r.t.Fatal(err)
		}
		o.Peers = append(o.Peers, friend)
	}
	fleet, err := members.New(o, members.Config{Host: h})
	if err != nil {
		r.t.Fatal(err)
	}
	m := &mute{bsnet.NewFromIpfsHost(h), claims}
	m.network.Start(m)
	fleet.Start()
	r.t.Cleanup(func() {
		fleet.Close()
		m.network.Stop()
		h.Close()
	})
	for _, e := range r.Edges {
		if err := e.WaitAlive(inTime(r.t), len(r.Edges)+1); err != nil {
			r.t.Fatal(err)
		}
	}
}

// ReceiveMessage implements [network.Receiver].
func (m *mute) ReceiveMessage(ctx context.Context, from peer.ID, in message.BitSwapMessage) {
	out := message.New(false)
	for _, w := range in.Wantlist() {
		if m.claims && !w.Cancel && w.WantType == pb.Message_Wantlist_Have {
			out.AddHave(w.Cid)
		}
	}
	if !out.Empty() {
		_ = m.network.SendMessage(ctx, from, out)
	}
}

// ReceiveError implements [network.Receiver].
func (m *mute) ReceiveError(error) {}

// PeerConnected implements [network.Receiver].
func (m *mute) PeerConnected(peer.ID) {}

// PeerDisconnected implements [network.Receiver].
func (m *mute) PeerDisconnected(peer.ID) {}

// One of three edges answers pings and delivers nothing. After the first slow blocks it
// is asked last, and stays a member.
func TestASiblingThatDoesNotDeliver(t *testing.T) {
	for _, claims := range []bool{false, true} {
		t.Run(fmt.Sprintf("says HAVE %v", claims), func(t *testing.T) {
			before, first, cold := lab.NewShelf(24, 100, 4<<10), lab.NewShelf(25, 60, 4<<10), lab.NewShelf(26, 200, 4<<10)
			more := lab.NewShelf(27, 2000, 100)
			r := newBench(t, before, first, cold, more)
			r.add("edge-0")
			r.add("edge-1")
			r.settled(r.Edges...)
			r.ask("without it", before, r.Edges...)
			r.join("mute", claims)
			r.ask("the first blocks", first, r.Edges...)
			paths := more.Paths()
			ctx := inTime(t)
			for _, e := range r.Edges {
				if err := until(ctx, func() bool {
					if _, err := e.Fetch(ctx, more, paths[0]); err != nil {
						t.Error(err)
					}
					paths = paths[1:]
					return len(e.Log.Lines("asked last", `"mute"`)) > 0 || len(paths) == 0
				}); err != nil || len(paths) == 0 {
					t.Fatalf("edge %s does not notice: %v", e.Name, err)
				}
			}
			r.ask("when it is known", cold, r.Edges...)
			for _, e := range r.Edges {
				list, err := e.Members(ctx)
				if err != nil || stateOf(list, "mute") != "alive" {
					t.Errorf("edge %s: %+v, %v", e.Name, list, err)
				}
			}
		})
	}
}

// Nobody misses an edge that was stopped cleanly: what nobody has is not found.
func TestNobodyHasItAndNobodyIsMissing(t *testing.T) {
	nowhere := lab.NewShelf(29, 20, 100)
	r := newBench(t, lab.NewShelf(28, 1, 100))
	for i := range 3 {
		r.add(fmt.Sprint("edge-", i))
	}
	r.settled(r.Edges...)
	gone := r.Edges[2]
	if code, err := gone.Stop(inTime(t)); code != 0 || err != nil {
		t.Fatalf("SIGTERM: exit code %d, %v", code, err)
	}
	ctx := inTime(t)
	for _, e := range r.others(gone) {
		if err := until(ctx, func() bool {
			list, err := e.Members(ctx)
			return err == nil && stateOf(list, gone.Name) == "left"
		}); err != nil {
			t.Fatalf("edge %s does not notice that %s has left", e.Name, gone.Name)
		}
	}
	paths := nowhere.Paths()
	for i, e := range r.others(gone) {
		for _, path := range paths[10*i : 10*i+10] {
			if a, err := e.Get(inTime(t), "", "/ipfs/"+path); err != nil || a.Status != http.StatusNotFound {
				t.Errorf("edge %s: status %d, %v: %s", e.Name, a.Status, err, a.Body)
			}
		}
	}
}

// An import is served by all at once, also by those that have just said that nobody has
// it, whatever edge it is given to, and though it is pinned nowhere.
func TestAnImportAfterADenial(t *testing.T) {
	elsewhere := start(t, t.TempDir())
	r := newBench(t, lab.NewShelf(30, 1, 100))
	for i := range 3 {
		r.add(fmt.Sprint("edge-", i))
	}
	r.settled(r.Edges...)
	first, homes := r.Edges[0], map[int]bool{} // the ranks that an importer has had
	for i := 0; len(homes) < 3 && !t.Failed(); i++ {
		if i > 100 {
			t.Fatal("nothing is denied by all")
		}
		dir, files := onePage(t, i)
		root := elsewhere.add(dir)
		w, err := first.Where(inTime(t), root)
		if err != nil {
			t.Fatal(err)
		}
		rank := slices.Index(w.Homes, first.Name)
		if homes[rank] {
			continue
		}
		if !r.allDeny(root) {
			continue // another one, of which nobody remembers that somebody was too busy to answer
		}
		homes[rank] = true
		if again := (&edge{first, t}).add(dir, "--no-pin"); again != root {
			t.Fatalf("the import is %s, expected %s", again, root)
		}
		for _, e := range r.Edges {
			if err := (&edge{e, t}).serves("127.0.0.1", "/ipfs/"+root, files); err != nil {
				t.Errorf("edge %s, imported by home %d: %v", e.Name, rank, err)
			}
		}
	}
}

// allDeny reports whether every edge says that nobody has the site.
func (r *rig) allDeny(root string) bool {
	r.t.Helper()
	for _, e := range r.Edges {
		a, err := e.Get(inTime(r.t), "", "/ipfs/"+root+"/index.html")
		if err != nil {
			r.t.Fatal(err)
		}
		if a.Status != http.StatusNotFound {
			r.t.Logf("edge %s: status %d: %s", e.Name, a.Status, a.Body)
			return false
		}
	}
	return true
}

// onePage writes a site of one page, another one for each number.
func onePage(t *testing.T, number int) (dir string, files map[string][]byte) {
	t.Helper()
	dir, files = t.TempDir(), map[string][]byte{"index.html": fmt.Appendf(nil, "<!doctype html><title>Page %d</title>", number)}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), files["index.html"], 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, files
}
