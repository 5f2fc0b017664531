package hold

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/dag"
	"github.com/shoal-cdn/shoal/pin/record"
)

// victimEnv tells a copy of the test binary to be the process that is killed, and in
// which folder.
const victimEnv = "SHOAL_TEST_HOLDER_TO_BE_KILLED"

// victimDAGs are what the victim pins: of some blocks each, with parts that several
// of them share.
func victimDAGs() [][]*block.Verified {
	shared := tree(100, 4, 2, 300)
	all := make([][]*block.Verified, 8)
	for i := range all {
		dag := tree(i, 6, 2, 500+100*i)
		all[i] = append([]*block.Verified{folder(dag[0], shared[i%3])}, dag...)
		all[i] = append(all[i], reachable(shared, shared[i%3])...)
	}
	return all
}

// reachable returns the part of a tree that is below one of its first blocks.
func reachable(tree []*block.Verified, root *block.Verified) []*block.Verified {
	byHash := map[string]*block.Verified{}
	for _, b := range tree {
		byHash[string(b.Cid().Hash())] = b
	}
	found := []*block.Verified{root}
	for i := 0; i < len(found); i++ {
		links, err := dag.Links(found[i].Cid(), found[i].RawData(), 1000)
		if err != nil {
			panic(err)
		}
		for _, l := range links {
			found = append(found, byHash[string(l.CID.Hash())])
		}
	}
	return found
}

func victimOptions() Options {
	o := DefaultOptions()
	o.RetryFirst, o.RetryMost, o.VerifyEvery = 5*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	return o
}

// pinUntilKilled holds and lets go, and says on standard output what is pinned
// and what was let go.
func pinUntilKilled() {
	dir := os.Getenv(victimEnv)
	store, data, err := openVictim(dir)
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	fleet := newFleet()
	dags := victimDAGs()
	for _, dag := range dags {
		fleet.add(dag...)
	}
	fleet.wait = func(context.Context, cid.Cid) error { time.Sleep(50 * time.Microsecond); return nil }
	said := make(chan string, 1000)
	var h *Holder
	ready := make(chan struct{})
	h, err = New(victimOptions(), Config{Store: store, Fetch: path{store, fleet}, Datastore: data, Changed: func(root cid.Cid) {
		<-ready
		if s, ok := h.State(root); !ok {
			said <- "let " + root.String()
		} else {
			said <- string(s.Status) + " " + root.String()
		}
	}})
	if err != nil {
		fmt.Println("failed", err)
		return
	}
	close(ready)
	h.Start()
	go func() {
		for {
			root := dags[rand.IntN(len(dags))]
			switch rand.IntN(5) {
			case 0, 1, 2:
				h.Hold(root[0].Cid(), nil)
			case 3:
				h.Let(root[0].Cid())
			case 4: // something is always missing somewhere
				fleet.lose(root[len(root)/2].Cid(), rand.IntN(2) == 0)
			}
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Microsecond)
		}
	}()
	for line := range said {
		fmt.Println(line)
	}
}

func openVictim(dir string) (*blockstore.Store, ds.Batching, error) {
	store, err := blockstore.New(blockstore.Options{Dir: filepath.Join(dir, "blocks"), Capacity: 256 << 20}, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	data, err := openLog(filepath.Join(dir, "states"))
	return store, data, err
}

// TestKill kills a process that pins and unpins, for real, at many moments, in one
// folder: every root that is pinned according to its state is complete, and nothing
// is protected but by what is wanted.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	dags := victimDAGs()
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	pinned := 0
	for round := range rounds {
		last := killAfter(t, dir, rand.IntN(80)+round%3)
		pinned += checkAfterKill(t, dir, dags, last)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if pinned == 0 {
		t.Error("nothing was ever pinned: the test shows nothing")
	}
}

// killAfter runs the victim until it has said so much, and returns what it said
// last of each root.
func killAfter(t *testing.T, dir string, lines int) map[string]string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := map[string]string{}
	in := bufio.NewScanner(out)
	for n := 0; in.Scan(); n++ {
		what, root, _ := strings.Cut(in.Text(), " ")
		if what == "failed" && strings.Contains(root, " ") {
			t.Error(in.Text())
		}
		last[root] = what
		if n == lines {
			time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // somewhere in what it does then
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	child.Wait() // says that it was killed
	return last
}

// checkAfterKill returns how many roots are pinned.
func checkAfterKill(t *testing.T, dir string, dags [][]*block.Verified, last map[string]string) int {
	t.Helper()
	store, data, err := openVictim(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	h, err := New(victimOptions(), Config{Store: store, Fetch: path{store, newFleet()}, Datastore: data})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, store: store, Holder: h}
	n := 0
	for _, dag := range dags {
		if s, held := h.State(dag[0].Cid()); held && s.Status == record.Pinned {
			w.checkHeld(dag...)
			n++
		} else if last[dag[0].Cid().String()] == string(record.Pinned) && held && s.Status != record.Pinning {
			t.Errorf("%s was pinned, and is %s", dag[0].Cid(), s.Status)
		}
	}
	h.Start() // releases what nobody wants
	h.Close()
	want := map[string]bool{}
	for s := range h.All() {
		want["pin/"+s.Root.String()] = true
	}
	for _, owner := range store.Owners() {
		if !want[owner] {
			t.Errorf("%s is still an owner", owner)
		}
	}
	if len(want) == 0 {
		w.checkNothingHeld()
	}
	return n
}

// logStore is a datastore that survives a kill: a map, and a log of what was done.
type logStore struct {
	ds.Batching
	mu   sync.Mutex
	file *os.File
}

type logLine struct {
	Key   string
	Value []byte
}

func openLog(name string) (*logStore, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logStore{Batching: dssync.MutexWrap(ds.NewMapDatastore()), file: f}
	ctx := context.Background()
	in := bufio.NewReader(f)
	for {
		text, err := in.ReadBytes('\n')
		if err == io.EOF {
			return l, nil
		}
		var line logLine
		if err == nil {
			err = json.Unmarshal(text, &line)
		}
		if err == nil && line.Value == nil {
			err = l.Batching.Delete(ctx, ds.RawKey(line.Key))
		} else if err == nil {
			err = l.Batching.Put(ctx, ds.RawKey(line.Key), line.Value)
		}
		if err != nil {
			return nil, err
		}
	}
}

func (l *logStore) append(line logLine) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = l.file.Write(append(text, '\n')) // one write: it is there whole, or not at all
	return err
}

func (l *logStore) Put(ctx context.Context, key ds.Key, value []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(logLine{key.String(), value}); err != nil {
		return err
	}
	return l.Batching.Put(ctx, key, slices.Clone(value))
}

func (l *logStore) Delete(ctx context.Context, key ds.Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(logLine{key.String(), nil}); err != nil {
		return err
	}
	return l.Batching.Delete(ctx, key)
}

func (l *logStore) Close() error { return l.file.Close() }
