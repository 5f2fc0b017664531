package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	client "github.com/ipfs/boxo/pinning/remote/client"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/pin/service"
)

// The client that Kubo has, all that it can do.
func TestBoxoClient(t *testing.T) {
	w := open(t, newShelf(), nil)
	ctx, c, opt := t.Context(), client.NewClient(w.url, alice), client.PinOpts
	addr := multiaddr.StringCast(origin)
	root := cid.MustParse(emptyDir)
	meta := map[string]string{"app": "web"}

	added, err := c.Add(ctx, root, opt.WithName("site"), opt.WithOrigins(addr), opt.AddMeta(meta))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.GetStatusByID(ctx, added.GetRequestId())
	if err != nil {
		t.Fatal(err)
	}
	p := got.GetPin()
	if p.GetCid() != root || p.GetName() != "site" || fmt.Sprint(p.GetOrigins()) != "["+origin+"]" || fmt.Sprint(p.GetMeta()) != fmt.Sprint(meta) {
		t.Errorf("got %s", got)
	}
	if got.GetStatus() != client.StatusQueued || !got.GetCreated().Equal(added.GetCreated()) || fmt.Sprint(got.GetDelegates()) != "["+delegate+"]" || got.GetInfo() != nil {
		t.Errorf("got %s", got)
	}
	w.shelf.move(added.GetRequestId(), record.Failed, map[string]string{"status_details": "no"})
	if got, err = c.GetStatusByID(ctx, added.GetRequestId()); err != nil || got.GetStatus() != client.StatusFailed || got.GetInfo()["status_details"] != "no" {
		t.Errorf("got %v, %v", got, err)
	}

	replaced, err := c.Replace(ctx, added.GetRequestId(), content("new"), opt.WithName("site"))
	if err != nil || replaced.GetRequestId() == added.GetRequestId() || replaced.GetPin().GetCid() != content("new") {
		t.Fatalf("got %v, %v", replaced, err)
	}
	if _, err := c.GetStatusByID(ctx, added.GetRequestId()); err == nil || !strings.Contains(err.Error(), `reason: "NOT_FOUND"`) {
		t.Errorf("got %v", err)
	}
	if err := c.DeleteByID(ctx, replaced.GetRequestId()); err != nil {
		t.Error(err)
	}
	if err := c.DeleteByID(ctx, replaced.GetRequestId()); err == nil || !strings.Contains(err.Error(), `reason: "NOT_FOUND"`) {
		t.Errorf("got %v", err)
	}
	if _, err := client.NewClient(w.url, "nope").LsSync(ctx); err == nil || !strings.Contains(err.Error(), `reason: "UNAUTHORIZED"`) {
		t.Errorf("got %v", err)
	}
}

func TestBoxoClientFilters(t *testing.T) {
	w := open(t, newShelf(), nil)
	ctx, c, opt := t.Context(), client.NewClient(w.url, alice), client.PinOpts
	var made []client.PinStatusGetter
	states := []record.Status{record.Queued, record.Pinning, record.Pinned, record.Failed}
	for i, state := range states {
		p, err := c.Add(ctx, content(fmt.Sprint(i)), opt.WithName(string(state)), opt.AddMeta(map[string]string{"n": fmt.Sprint(i)}))
		if err != nil {
			t.Fatal(err)
		}
		w.shelf.move(p.GetRequestId(), state, nil)
		made = append(made, p)
	}
	all := opt.FilterStatus(client.StatusQueued, client.StatusPinning, client.StatusPinned, client.StatusFailed)
	zone := time.FixedZone("east", 2*60*60) // whose + must be escaped
	for _, q := range []struct {
		name string
		opts []client.LsOption
		want string
	}{
		{"none", nil, "pinned"},
		{"all", []client.LsOption{all}, "failed pinned pinning queued"},
		{"status", []client.LsOption{opt.FilterStatus(client.StatusPinning)}, "pinning"},
		{"cids", []client.LsOption{all, opt.FilterCIDs(content("0"), content("3"))}, "failed queued"},
		{"name", []client.LsOption{all, opt.FilterName("failed")}, "failed"},
		{"before", []client.LsOption{all, opt.FilterBefore(made[2].GetCreated().In(zone))}, "pinning queued"},
		{"after", []client.LsOption{all, opt.FilterAfter(made[1].GetCreated().In(zone))}, "failed pinned"},
		{"limit", []client.LsOption{all, opt.Limit(1)}, "failed pinned pinning queued"}, // page by page
	} {
		got, err := c.LsSync(ctx, q.opts...)
		var names []string
		for _, p := range got {
			names = append(names, p.GetPin().GetName())
		}
		if err != nil || strings.Join(names, " ") != q.want {
			t.Errorf("%s: got %q, %v, want %s", q.name, names, err, q.want)
		}
	}
	batch, count, err := c.LsBatchSync(ctx, all, opt.Limit(3))
	if err != nil || len(batch) != 3 || count != 4 {
		t.Errorf("got %d of %d, %v", len(batch), count, err)
	}
	// This client sends meta as fmt prints a map, which is not what the document has,
	// and cannot be read back for certain. It is told so; it does not get all pins.
	if _, err := c.LsSync(ctx, all, opt.LsMeta(map[string]string{"n": "1"})); err == nil || !strings.Contains(err.Error(), "meta: not JSON") {
		t.Errorf("got %v", err)
	}
}

func TestBoxoClientReadsAllPages(t *testing.T) {
	s := newShelf()
	s.initial = record.Pinned
	s.fill(service.Owner(alice), 2500)
	s.fill(service.Owner(bob), 10)
	w := open(t, s, nil)
	for _, limit := range []int{1000, 10, 7} {
		got, err := client.NewClient(w.url, alice).LsSync(t.Context(), client.PinOpts.Limit(limit))
		if err != nil || len(got) != 2500 {
			t.Fatalf("by %d: got %d, %v", limit, len(got), err)
		}
		seen := map[string]bool{}
		for _, p := range got {
			seen[p.GetRequestId()] = true
		}
		if len(seen) != 2500 {
			t.Errorf("by %d: %d different pins", limit, len(seen))
		}
	}
}
