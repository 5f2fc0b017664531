package hold

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	ds "github.com/ipfs/go-datastore"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/pin/record"
)

// journal writes down in which order the two places are written to, and can make
// writes fail.
type journal struct {
	mu   sync.Mutex
	did  []string
	fail map[string]error
}

func (j *journal) note(what string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.fail[what]; err != nil {
		return err
	}
	j.did = append(j.did, what)
	return nil
}

func (j *journal) set(what string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail[what] = err
}

func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	did := j.did
	j.did = nil
	return did
}

type journalData struct {
	ds.Batching
	*journal
}

func (d journalData) Put(ctx context.Context, key ds.Key, value []byte) error {
	var s saved
	if err := json.Unmarshal(value, &s); err != nil {
		return err
	}
	if err := d.note("put " + string(s.Status)); err != nil {
		return err
	}
	return d.Batching.Put(ctx, key, value)
}

func (d journalData) Sync(ctx context.Context, key ds.Key) error { return d.note("sync") }

func (d journalData) Delete(ctx context.Context, key ds.Key) error {
	if err := d.note("delete"); err != nil {
		return err
	}
	return d.Batching.Delete(ctx, key)
}

type journalStore struct {
	*blockstore.Store
	*journal
}

func (s journalStore) Commit(owner string) error {
	if err := s.note("commit"); err != nil {
		return err
	}
	return s.Store.Commit(owner)
}

func (s journalStore) Release(owner string) error {
	if err := s.note("release"); err != nil {
		return err
	}
	return s.Store.Release(owner)
}

// journaled opens a Holder whose writes are written down.
func (w *world) journaled() *journal {
	w.t.Helper()
	j := &journal{fail: map[string]error{}}
	var h *Holder
	h, err := New(w.opts, Config{
		Store: journalStore{w.store, j}, Fetch: path{w.store, w.fleet}, Datastore: journalData{w.data, j},
		Metrics: prometheus.NewRegistry(),
		Changed: func(root cid.Cid) {
			if s, held := h.State(root); held {
				_ = j.note("say " + string(s.Status))
			}
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Holder = h
	h.Start()
	return j
}

// What a power failure leaves depends on the order of the writes.
func TestOrderOfWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		dag := tree(1, 5, 1, 100)
		w.fleet.add(dag...)
		j := w.journaled()
		defer w.stop()
		root := dag[0].Cid()
		check := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := j.take(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		w.Hold(root, nil)
		check("hold", "put pinning", "say pinning", "commit", "put pinned", "sync", "say pinned")
		w.Let(root)
		check("let", "delete", "sync", "release")
		w.fleet.lose(dag[2].Cid(), true)
		if err := w.store.DeleteBlock(t.Context(), dag[2].Cid()); err != nil {
			t.Fatal(err)
		}
		w.Hold(root, nil)
		// The state is known before there is an owner that needs one.
		check("hold what is missing", "put pinning", "say pinning", "put pinning", "sync", "commit", "put pinning", "say pinning")
		w.Let(root)
		check("let", "delete", "sync", "release")
		bad := claiming(1<<40, dag[1])
		w.fleet.add(bad)
		w.Hold(bad.Cid(), nil)
		check("fail", "put pinning", "say pinning", "put failed", "sync", "release", "say failed")
	})
}

// When this machine's own disk refuses, nothing is said that is not so, and it is
// tried again.
func TestDiskTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, capacity)
		dag := tree(1, 5, 1, 100)
		w.fleet.add(dag...)
		j := w.journaled()
		root := dag[0].Cid()
		broken := errors.New("input/output error")
		for _, what := range []string{"put pinning", "commit", "put pinned", "sync"} {
			j.set(what, broken)
			w.Hold(root, nil)
			time.Sleep(time.Hour)
			synctest.Wait()
			if s, held := w.State(root); !held || s.Status == record.Pinned || s.Status == record.Failed {
				t.Errorf("%s fails: %+v", what, s)
			}
			j.set(what, nil)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if s, _ := w.State(root); s.Status != record.Pinned {
				t.Errorf("%s works again: %+v", what, s)
			}
			w.checkHeld(dag...)
			w.Let(root)
			synctest.Wait()
		}
		for _, what := range []string{"delete", "release"} {
			w.Hold(root, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			j.set(what, broken)
			w.Let(root)
			time.Sleep(time.Hour)
			w.checkHeld(dag...)
			j.set(what, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			w.checkNothingHeld()
		}
		w.stop()
	})
}
