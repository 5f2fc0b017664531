package pin

import (
	"slices"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// report is a share as an edge told it.
type report struct {
	edge string
	record.Report
}

// root is a DAG that somebody wants or holds. It is guarded by Pins.mu.
type root struct {
	cid  cid.Cid       // of version 1
	pins []*record.Pin // of it
	// successors are the pins that took the place of one of this root.
	successors []*record.Pin
	// sites are the edges with a site that leads or led here.
	sites []string
	// imported says that an import holds it on this edge; see imports.go.
	imported bool
	local    record.Report
	reports  []report // of siblings, by name
	status   record.Status
}

// idle reports whether there is nothing to remember.
func (r *root) idle() bool {
	return len(r.pins)+len(r.successors)+len(r.sites)+len(r.reports) == 0 && !r.imported && r.local.Status == ""
}

// share returns how far an edge is.
func (r *root) share(edge, self string) record.Report {
	if edge == self {
		return r.local
	}
	for i := range r.reports {
		if r.reports[i].edge == edge {
			return r.reports[i].Report
		}
	}
	return record.Report{}
}

// setReport takes in what a sibling says; an empty status takes it out.
func (r *root) setReport(edge string, s record.Report) {
	at := slices.IndexFunc(r.reports, func(o report) bool { return o.edge == edge })
	switch {
	case at >= 0 && s.Status == "":
		r.reports = slices.Delete(r.reports, at, at+1)
	case at >= 0:
		r.reports[at].Report = s
	case s.Status != "":
		r.reports = append(r.reports, report{edge, s})
	}
}

// plan is what this edge makes of a root.
type plan struct {
	// wanted is how many edges are to hold it; 0 if none.
	wanted int
	// assigned are the edges that are to hold it, first in rank first.
	assigned []string
	// holders are the edges that are present and hold it whole.
	holders []string
	// need is how many of them there have to be.
	need    int
	status  record.Status
	settle  bool // the fleet has enough of it now
	hold    bool // here
	release bool // here
}

// wantedBy returns how many edges are to hold a root.
func (t *table) wantedBy(r *root) int {
	n := 0
	for _, pin := range r.pins {
		n = max(n, t.replicas(pin))
	}
	if len(r.sites) > 0 {
		n = max(n, t.perPin)
	}
	return n
}

// hasSuccessor reports whether something is to take the place of a root and is still on its
// way. Whoever holds the root keeps it until then; nobody begins to.
func (t *table) hasSuccessor(r *root) bool {
	return slices.ContainsFunc(r.successors, func(successor *record.Pin) bool {
		to := t.roots[record.Root(successor.CID)]
		return to == nil || to.status != record.Pinned && to.status != record.Failed
	})
}

func (t *table) replicas(pin *record.Pin) int {
	if pin.Replicas > 0 {
		return pin.Replicas
	}
	return t.perPin
}

// plan decides who is to hold a root, and how it stands. table.mu is held, if only for
// reading.
func (t *table) plan(r *root) plan {
	j := plan{wanted: t.wantedBy(r)}
	c := t.membership
	settled := r.local.Settled && r.local.Status == record.Pinned
	if r.local.Status == record.Pinned {
		j.holders = append(j.holders, c.self.Name)
	}
	for i := range r.reports {
		if s := &r.reports[i]; s.Status == record.Pinned && c.isPresent(s.edge) {
			j.holders = append(j.holders, s.edge)
			settled = settled || s.Settled
		}
	}
	if j.wanted == 0 {
		j.release = r.local.Status != "" && !t.hasSuccessor(r)
		return j
	}
	j.need = min(j.wanted, len(c.present))
	j.assigned = t.assign(r, j.wanted, settled)
	j.status = t.statusOf(r, &j, settled)
	j.settle = r.local.Status == record.Pinned && !r.local.Settled && len(j.holders) >= j.need

	here := slices.Contains(j.assigned, c.self.Name)
	j.hold = here || r.imported
	if !j.hold && r.local.Status != "" {
		j.release = r.local.Status != record.Pinned || t.surplus(r, &j)
	}
	return j
}

// assign returns the first edges in rank. One that is away counts for what it held,
// but what it had not pinned yet is left to others.
func (t *table) assign(r *root, n int, settled bool) []string {
	c := t.membership
	var list []string
	for _, name := range c.rank(r.cid.Hash(), n+len(c.away)) {
		if len(list) == n {
			break
		}
		brief, away := c.away[name]
		if !away || brief || settled || r.share(name, c.self.Name).Status == record.Pinned {
			list = append(list, name)
		}
	}
	return list
}

// surplus reports whether the edges that are to hold a root do so without this one.
func (t *table) surplus(r *root, j *plan) bool {
	for _, name := range j.assigned {
		if !slices.Contains(j.holders, name) {
			return false
		}
	}
	return true
}

// statusOf returns the status of the pins of a root.
func (t *table) statusOf(r *root, j *plan, settled bool) record.Status {
	if len(j.holders) >= j.need || settled {
		return record.Pinned // whoever settled it is one of the holders
	}
	begun, failed, trying := len(j.holders) > 0, false, false
	for _, name := range j.assigned {
		switch r.share(name, t.membership.self.Name).Status {
		case record.Failed:
			failed = true
		case record.Pinning:
			begun, trying = true, true
		case record.Pinned:
		default:
			trying = true
		}
	}
	switch {
	case failed && !trying:
		return record.Failed
	case begun:
		return record.Pinning
	}
	return record.Queued
}
