package pin

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// Lookup returns the pins that an ID or a CID means, whoever owns them, the newest
// first, and says of each edge how far it is. Without any the error is
// [record.ErrNotFound].
func (p *Pins) Lookup(ctx context.Context, idOrCID string) ([]record.View, error) {
	found, err := p.lookup(idOrCID)
	var views []record.View
	for _, pin := range found {
		d, err := p.Detail(ctx, pin.ID)
		if err != nil {
			return nil, err
		}
		views = append(views, d)
	}
	return views, err
}

// Unpin ends the pins that an ID or a CID means, whoever owns them, and returns them as
// they were. With an error, those that it returns have ended.
func (p *Pins) Unpin(ctx context.Context, idOrCID string) ([]record.View, error) {
	found, err := p.lookup(idOrCID)
	if err != nil {
		return nil, err
	}
	var views []record.View
	for _, pin := range found {
		view := p.view(pin)
		if err := p.remove(ctx, pin); err != nil {
			return views, err
		}
		views = append(views, view)
	}
	return views, nil
}

func (p *Pins) lookup(idOrCID string) ([]*record.Pin, error) {
	if pin, ok := p.list.Get(idOrCID); ok {
		return []*record.Pin{pin}, nil
	}
	c, err := cid.Decode(idOrCID)
	if err != nil {
		return nil, fmt.Errorf("pin %.80q: %w", idOrCID, record.ErrNotFound)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.roots[record.Root(c)]
	if r == nil || len(r.pins) == 0 {
		return nil, fmt.Errorf("pin of %s: %w", c, record.ErrNotFound)
	}
	pins := slices.Clone(r.pins)
	slices.SortFunc(pins, func(a, b *record.Pin) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.ID, a.ID))
	})
	return pins, nil
}

// Detail returns a pin and says of each edge how far it is.
func (p *Pins) Detail(_ context.Context, id string) (record.View, error) {
	pin, err := p.find("", id)
	if err != nil {
		return record.View{}, err
	}
	d := p.view(pin)
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.roots[record.Root(pin.CID)]
	if r == nil {
		return d, nil
	}
	j := p.plan(r)
	for _, name := range j.assigned {
		d.Edges = append(d.Edges, p.edgeShare(r, name, true))
	}
	others := []string{}
	for _, o := range append(slices.Clone(r.reports), report{p.membership.self.Name, r.local}) {
		if o.Status != "" && !slices.Contains(j.assigned, o.edge) {
			others = append(others, o.edge)
		}
	}
	slices.Sort(others)
	for _, name := range others {
		d.Edges = append(d.Edges, p.edgeShare(r, name, false))
	}
	return d, nil
}

func (p *Pins) edgeShare(r *root, name string, assigned bool) record.EdgeShare {
	e := record.EdgeShare{Edge: name, Assigned: assigned, Present: p.membership.isPresent(name), Share: r.share(name, p.membership.self.Name).Share}
	if e.Status == "" {
		e.Status = record.Queued
	}
	return e
}
