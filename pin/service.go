package pin

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/record"
)

// Add makes a pin of a request. When it returns, the pin is durable on this edge and
// on its way to the others.
func (p *Pins) Add(ctx context.Context, owner string, request record.Request) (record.View, error) {
	pin := p.newPin(owner, request)
	if err := p.list.Add(ctx, pin); err != nil {
		return record.View{}, fmt.Errorf("pin %s: %w", request.CID, err)
	}
	return p.added(pin), nil
}

// newPin gives a request an ID and a time.
func (p *Pins) newPin(owner string, request record.Request) record.Pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Millisecond)
	if !now.After(p.stamp) {
		now = p.stamp.Add(time.Millisecond) // clients page by it
	}
	p.stamp = now
	return record.Pin{Request: request, ID: rand.Text(), Owner: owner, Created: now}
}

// added takes up a pin that is on the list now.
func (p *Pins) added(pin record.Pin) record.View {
	p.refresh([]string{pin.ID})
	return p.view(&pin)
}

// find returns a pin of an owner; an empty owner finds those of all.
func (p *Pins) find(owner, id string) (*record.Pin, error) {
	pin, ok := p.list.Get(id)
	if !ok || owner != "" && pin.Owner != owner {
		return nil, fmt.Errorf("pin %.80q: %w", id, record.ErrNotFound)
	}
	return pin, nil
}

// Get returns a pin.
func (p *Pins) Get(_ context.Context, owner, id string) (record.View, error) {
	pin, err := p.find(owner, id)
	if err != nil {
		return record.View{}, err
	}
	return p.view(pin), nil
}

// Replace makes a pin in place of another, which is on the list no more. What it held
// is kept until the new one is pinned or has failed.
func (p *Pins) Replace(ctx context.Context, owner, id string, request record.Request) (record.View, error) {
	old, err := p.find(owner, id)
	if err != nil {
		return record.View{}, err
	}
	pin := p.newPin(owner, request)
	pin.Replaces, pin.Old = old.ID, old.CID
	p.mu.RLock()
	if r := p.roots[record.Root(old.CID)]; old.Old.Defined() && (r == nil || r.status != record.Pinned) {
		pin.Old = old.Old // the last that was whole
	}
	p.mu.RUnlock()
	if pin.Old.Defined() && record.Root(pin.Old) == record.Root(pin.CID) {
		pin.Old = cid.Undef
	}
	if err := p.list.Add(ctx, pin); err != nil {
		return record.View{}, fmt.Errorf("pin %s: %w", request.CID, err)
	}
	view := p.added(pin)
	if err := p.remove(ctx, old); err != nil {
		return record.View{}, err
	}
	return view, nil
}

// Remove ends a pin. What nothing else wants is let go, on all edges.
func (p *Pins) Remove(ctx context.Context, owner, id string) error {
	pin, err := p.find(owner, id)
	if err != nil {
		return err
	}
	return p.remove(ctx, pin)
}

func (p *Pins) remove(ctx context.Context, pin *record.Pin) error {
	err := p.list.Remove(ctx, pin.ID)
	p.refresh([]string{pin.ID}) // also when somebody else was quicker
	if err != nil {
		return fmt.Errorf("unpin %s: %w", pin.CID, err)
	}
	return nil
}

// List returns the pins of an owner that a query selects, and how many these are; an
// empty owner lists those of all.
func (p *Pins) List(ctx context.Context, owner string, q record.Query) (page record.Page, err error) {
	page.Pins = []record.View{}
	page.Count, err = p.Walk(ctx, owner, q, func(v record.View) error {
		page.Pins = append(page.Pins, v)
		return nil
	})
	return page, err
}

// Walk is [Pins.List] without a list: it calls visit for each pin, the newest first,
// and returns how many match. An error of visit ends it.
func (p *Pins) Walk(ctx context.Context, owner string, q record.Query, visit func(record.View) error) (count int, err error) {
	matches := q.Matcher()
	pins := p.list.Owned(owner)
	if owner == "" {
		pins = p.list.All()
	}
	seen := 0
	for pin := range pins {
		if seen++; seen&1023 == 0 && ctx.Err() != nil {
			return count, context.Cause(ctx)
		}
		if !matches(pin) || len(q.Statuses) > 0 && !q.HasStatus(p.statusNow(pin)) {
			continue
		}
		if count++; q.Limit == 0 || count <= q.Limit {
			if err := visit(p.view(pin)); err != nil {
				return count, err
			}
		}
	}
	return count, nil
}

// maxDelegates is the specification's bound.
const maxDelegates = 20

// view returns a pin as a client sees it.
func (p *Pins) view(pin *record.Pin) record.View {
	p.mu.RLock()
	defer p.mu.RUnlock()
	v := record.View{Pin: *pin, Status: record.Queued, Info: map[string]string{}}
	v.Replicas = p.replicas(pin)
	assigned := []string{p.membership.self.Name}
	if r := p.roots[record.Root(pin.CID)]; r != nil && r.status != "" {
		j := p.plan(r)
		v.Status, assigned = j.status, j.assigned
		p.inform(v.Info, pin, r, &j)
	}
	v.Delegates = p.delegates(assigned)
	return v
}

// inform says for people how a pin stands.
func (p *Pins) inform(info map[string]string, pin *record.Pin, r *root, j *plan) {
	info["replicas"] = fmt.Sprintf("%d/%d", min(len(j.holders), p.replicas(pin)), p.replicas(pin))
	if len(j.holders) > 0 {
		info["edges"] = strings.Join(slices.Sorted(slices.Values(j.holders)), ", ")
	}
	reasons := map[string]string{}
	var most record.Report
	for _, name := range j.assigned {
		s := r.share(name, p.membership.self.Name)
		if s.Status != record.Pinned && s.Reason != "" {
			reasons[name] = name + ": " + s.Reason
		}
		if s.Blocks > most.Blocks {
			most = s
		}
	}
	if most.Blocks > 0 {
		info["blocks"], info["bytes"] = strconv.FormatInt(most.Blocks, 10), strconv.FormatInt(most.Bytes, 10)
	}
	if len(reasons) > 0 {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(reasons)) {
			all = append(all, reasons[name])
		}
		info["reason"] = strings.Join(all, "; ")
	}
}

// delegates returns where clients can send what they want pinned: addresses of the
// edges that are to hold it, some of each.
func (p *Pins) delegates(assigned []string) []string {
	var lists [][]string
	for _, name := range assigned {
		if at := slices.IndexFunc(p.membership.present, func(m member.Member) bool { return m.Name == name }); at >= 0 {
			lists = append(lists, p.membership.present[at].Addrs())
		}
	}
	if len(lists) == 0 {
		lists = [][]string{p.membership.self.Addrs()}
	}
	var all []string
	for i := 0; len(all) < maxDelegates; i++ {
		more := false
		for _, list := range lists {
			if i < len(list) && len(all) < maxDelegates {
				all = append(all, list[i])
				more = true
			}
		}
		if !more {
			break
		}
	}
	return all
}
