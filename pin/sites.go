package pin

import (
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// SetSites says where the sites of this edge lead: what each of them shows, and what
// it is about to show. The fleet holds that, as long as any edge says so.
func (g *gossip) SetSites(roots []cid.Cid) {
	var all []cid.Cid
	var texts []string
	for _, c := range roots {
		if c = record.Root(c); !slices.Contains(all, c) && len(all) < maxSites {
			all, texts = append(all, c), append(texts, c.String())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	name := g.membership.self.Name
	own := g.others[name]
	if own == nil {
		own = &sibling{complete: true}
		g.others[name] = own
	}
	g.setSites(name, own, all)
	g.own.setSites(texts)
}

// Standing returns how far the fleet is with a root that is wanted: its blocks and bytes
// are those of the edge that is farthest.
func (p *Pins) Standing(c cid.Cid) (s record.Report) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	r := p.roots[record.Root(c)]
	if r == nil {
		s.Status = record.Queued
		return s
	}
	j := p.plan(r)
	s.Status = j.status
	for _, name := range j.assigned {
		share := r.share(name, p.membership.self.Name)
		if share.Status != record.Pinned && share.Reason != "" {
			s.Reason = name + ": " + share.Reason
		}
		s.Unfit = s.Unfit || share.Status == record.Failed && share.Unfit
		if share.Blocks > s.Blocks {
			s.Blocks, s.Bytes = share.Blocks, share.Bytes
		}
	}
	s.Unfit = s.Unfit && s.Status == record.Failed
	return s
}
