package pin

import (
	"context"
	"testing"
	"time"

	ds "github.com/ipfs/go-datastore"

	"github.com/shoal-cdn/shoal/member"
)

// Who was there, and where, outlives a restart; without zones it is written as versions
// without zones read it.
func TestTheTrackerRemembersZones(t *testing.T) {
	ctx, now := context.Background(), time.Now()
	store := ds.NewMapDatastore()
	if err := store.Put(ctx, trackerKey, []byte(`{"old":5}`)); err != nil {
		t.Fatal(err)
	}
	r, err := newTracker(ctx, store, time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	c := r.look([]member.Member{{Name: "me", Self: true, Weight: 1}, {Name: "a", State: member.Alive, Weight: 7, Zone: "x"}}, now)
	if err := r.save(ctx, c); err != nil {
		t.Fatal(err)
	}
	if text, _ := store.Get(ctx, trackerKey); string(text) != `{"a":{"weight":7,"zone":"x"},"old":5}` {
		t.Errorf("saved %s", text)
	}
	if r, err = newTracker(ctx, store, time.Hour, now); err != nil {
		t.Fatal(err)
	}
	if a, old := r.edges["a"], r.edges["old"]; a == nil || a.Zone != "x" || a.Weight != 7 || old == nil || old.Weight != 5 {
		t.Errorf("read %+v and %+v", a, old)
	}
}
