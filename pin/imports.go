package pin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/work"
)

// An import holds its blocks under a name of its own, durably, before anybody can make
// a pin of it. This edge then holds the same DAG for the pin as well, although others
// may be assigned, and ends the import's hold only when its own is durable. From then
// on it is like every edge with too much: it lets go when the assigned edges have it.

// Import makes a pin of what an import holds on this edge. A pin of the operator's with
// the same CID and name is taken for it, if there is one; without a name, any of the CID.
func (p *Pins) Import(ctx context.Context, request record.Request) (record.View, error) {
	c := record.Root(request.CID)
	var view record.View
	if same := p.sameImport(c, request); same != nil {
		view = p.view(same)
	} else {
		var err error
		if view, err = p.Add(ctx, record.Operator, request); err != nil {
			return record.View{}, err
		}
	}
	// Only now: the hold of an import that no pin wants is ended.
	p.mu.Lock()
	p.edit(c, func(r *root) { r.imported = true })
	p.mu.Unlock()
	return view, nil
}

// sameImport returns the pin that an earlier import of the same made.
func (p *Pins) sameImport(c cid.Cid, request record.Request) *record.Pin {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if r := p.roots[c]; r != nil {
		for _, pin := range r.pins {
			if pin.Owner == record.Operator && (request.Name == "" || pin.Name == request.Name) && (request.Replicas == 0 || pin.Replicas == request.Replicas) {
				return pin
			}
		}
	}
	return nil
}

// adoptImports makes pins of imports that nobody made a pin of: the edge was killed in
// between, or they are older than pins.
func (p *Pins) adoptImports() {
	for _, c := range p.orphans {
		p.mu.Lock()
		r := p.roots[record.Root(c)]
		listed := r != nil && len(r.pins) > 0
		if listed {
			p.edit(r.cid, func(r *root) { r.imported = true })
		}
		p.mu.Unlock()
		if listed {
			continue
		}
		if _, err := p.Import(p.ctx, record.Request{CID: c}); err != nil {
			p.log.Error("an import has no pin, and stays on this edge only", "cid", c, "err", err)
			continue
		}
		p.log.Info("made a pin of an import that had none", "cid", c)
	}
}

// endImport ends what an import holds, now that the pin holds it or is gone.
func (ctl *controller) endImport(c cid.Cid) {
	if ctl.imports == nil {
		return
	}
	if _, err := ctl.imports.Unpin(c); err != nil {
		ctl.log.Error("end the hold of an import", "cid", c, "err", err)
		return
	}
	ctl.mu.Lock()
	ctl.edit(c, func(r *root) { r.imported = false })
	ctl.mu.Unlock()
}

// dropLook is how often a caller of Drop looks whether it is done.
const dropLook = 20 * time.Millisecond

// Drop removes all pins of the operator's of the given roots from the list, and returns
// when this edge has let go of what nobody else wants, whoever removed its pins.
func (p *Pins) Drop(ctx context.Context, roots ...cid.Cid) error {
	for _, c := range roots {
		p.mu.RLock()
		var pins []*record.Pin
		if r := p.roots[record.Root(c)]; r != nil {
			pins = append(pins, r.pins...)
		}
		p.mu.RUnlock()
		for _, pin := range pins {
			if pin.Owner != record.Operator {
				continue
			}
			// Another edge may have been told to do the same.
			if err := p.remove(ctx, pin); err != nil && !errors.Is(err, record.ErrNotFound) {
				return err
			}
		}
		if err := p.gone(ctx, record.Root(c)); err != nil {
			return fmt.Errorf("let go of %s: %w", c, err)
		}
	}
	return nil
}

// gone waits until this edge has let go of a root that nobody wants.
func (p *Pins) gone(ctx context.Context, c cid.Cid) error {
	for {
		p.mu.RLock()
		r := p.roots[c]
		done := r == nil || p.plan(r).wanted > 0 || r.local.Status == "" && !r.imported
		p.mu.RUnlock()
		if done {
			return nil
		}
		if err := work.Pause(ctx, dropLook); err != nil {
			return err
		}
	}
}
