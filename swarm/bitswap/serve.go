package bitswap

import (
	"slices"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
)

// want is what a peer asked and cannot be told yet.
type want struct {
	entry Entry
	taken bool // by the Filler, which will end it
}

// answer is what a peer is going to be told.
type answer struct {
	entry     Entry
	have      bool
	block     *block.Verified // if it is at hand; otherwise it is read from the store
	cancelled bool
}

// receiveWants answers the wants of a message, or puts them on record.
func (r *remote) receiveWants(m *Message, access Access) {
	if access < Guest {
		return
	}
	if m.Full {
		r.forgetWants()
	}
	for _, e := range m.Wants {
		switch {
		case e.Cancel:
			r.receiveCancel(e.Cid)
		case e.Cid.Prefix().MhType == multihash.IDENTITY:
			// Carries its own content. Some implementations ask nevertheless.
		case block.CheckCID(e.Cid) != nil:
			r.x.metrics.refused.WithLabelValues("cid").Inc()
			r.tell(e, false, nil)
		default:
			r.receiveWant(e, access)
		}
	}
	if len(m.Wants) > 0 {
		r.startWriting()
	}
}

func (r *remote) receiveWant(e Entry, access Access) {
	if r.has(e.Cid) {
		r.tell(e, true, nil)
		return
	}
	w, upgraded := r.record(e)
	if w == nil {
		r.tell(e, false, nil)
		return
	}
	if w.taken && !upgraded {
		return // sent again; the answer is on its way
	}
	if access == Member && r.x.filler != nil && r.x.filler.Want(r.id, e.Cid, e.Kind) {
		r.taken(e.Cid)
		return
	}
	// It may have landed while it was put on record.
	if r.has(e.Cid) {
		r.settle(e.Cid, true, nil)
		return
	}
	if access == Member {
		// Members are told and ask somebody else.
		r.settle(e.Cid, false, nil)
		return
	}
	r.tell(e, false, nil)
}

func (r *remote) has(c cid.Cid) bool {
	ok, err := r.x.store.Has(r.ctx, c)
	if err != nil {
		r.x.log.Debug("bitswap: the store failed", "cid", c, "err", err)
	}
	return ok
}

// record puts a want on record. It returns nil if the peer has too many, and
// whether the want was on record as something less.
func (r *remote) record(e Entry) (w *want, upgraded bool) {
	mh := string(e.Cid.Hash())
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return nil, false
	}
	if w = r.wants[mh]; w != nil {
		upgraded = w.entry.Kind == WantHave && e.Kind == WantBlock
		if upgraded {
			w.entry.Kind = WantBlock
		}
		w.entry.SendDontHave = w.entry.SendDontHave || e.SendDontHave
		return &want{entry: w.entry, taken: w.taken}, upgraded
	}
	if len(r.wants) >= r.x.opts.MaxWants {
		r.x.metrics.refused.WithLabelValues("flood").Inc()
		return nil, false
	}
	r.wants[mh] = &want{entry: e}
	if r.x.waiting[mh] == nil {
		r.x.waiting[mh] = map[*remote]struct{}{}
	}
	r.x.waiting[mh][r] = struct{}{}
	r.x.waitingLen.Store(int64(len(r.x.waiting)))
	return &want{entry: e}, false
}

func (r *remote) taken(c cid.Cid) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.wants[string(c.Hash())]; w != nil {
		w.taken = true
	}
}

// strike takes a want off the record and returns it, or nil if there is none.
// x.mu is held.
func (x *Exchange) strike(r *remote, mh string) *want {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.wants[mh]
	delete(r.wants, mh)
	if set := x.waiting[mh]; set != nil {
		if delete(set, r); len(set) == 0 {
			delete(x.waiting, mh)
		}
	}
	x.waitingLen.Store(int64(len(x.waiting)))
	return w
}

// settle ends a want that is on record.
func (r *remote) settle(c cid.Cid, have bool, b *block.Verified) {
	r.x.mu.Lock()
	w := r.x.strike(r, string(c.Hash()))
	r.x.mu.Unlock()
	if w != nil {
		r.tell(w.entry, have, b)
	}
}

// receiveCancel forgets a want, wherever it is.
func (r *remote) receiveCancel(c cid.Cid) {
	mh := string(c.Hash())
	r.x.mu.Lock()
	w := r.x.strike(r, mh)
	r.x.mu.Unlock()
	r.mu.Lock()
	if a := r.queued[mh]; a != nil {
		a.cancelled = true
		delete(r.queued, mh)
	}
	r.mu.Unlock()
	if w != nil && w.taken {
		r.x.filler.Unwant(r.id, c)
	}
}

// forgetWants takes everything that the peer wants off the record.
func (r *remote) forgetWants() {
	r.mu.Lock()
	wants := r.wants
	r.wants = map[string]*want{}
	for mh, a := range r.queued {
		a.cancelled = true
		delete(r.queued, mh)
	}
	r.mu.Unlock()
	r.x.forget(r, wants)
}

// forget takes wants that r no longer has off the exchange's record.
func (x *Exchange) forget(r *remote, wants map[string]*want) {
	x.mu.Lock()
	for mh := range wants {
		if set := x.waiting[mh]; set != nil {
			if delete(set, r); len(set) == 0 {
				delete(x.waiting, mh)
			}
		}
	}
	x.waitingLen.Store(int64(len(x.waiting)))
	x.mu.Unlock()
	for _, w := range wants {
		if w.taken {
			x.filler.Unwant(r.id, w.entry.Cid)
		}
	}
}

// Answer ends every want of c that the [Filler] has taken on with b. Guests who wait for
// c get it too.
func (x *Exchange) Answer(c cid.Cid, b *block.Verified) {
	x.endWants(c, b, func(*remote) bool { return true })
}

// Deny ends the wants of c of some members, which the [Filler] has taken on, with
// DONT_HAVE.
func (x *Exchange) Deny(c cid.Cid, to []peer.ID) {
	x.endWants(c, nil, func(r *remote) bool { return slices.Contains(to, r.id) })
}

func (x *Exchange) endWants(c cid.Cid, b *block.Verified, of func(*remote) bool) {
	if x.waitingLen.Load() == 0 {
		return
	}
	mh := string(c.Hash())
	type due struct {
		r *remote
		e Entry
	}
	var dues []due
	x.mu.Lock()
	for r := range x.waiting[mh] {
		if !of(r) {
			continue
		}
		if w := x.strike(r, mh); w != nil {
			dues = append(dues, due{r, w.entry})
		}
	}
	x.mu.Unlock()
	for _, d := range dues {
		d.r.tell(d.e, b != nil, b)
		d.r.startWriting()
	}
}

// Release ends every member's WantHave of c that the [Filler] has taken on, with
// DONT_HAVE. Whoever has sent a WantBlock goes on waiting.
func (x *Exchange) Release(c cid.Cid) {
	mh := string(c.Hash())
	released := map[*remote]Entry{}
	x.mu.Lock()
	for r := range x.waiting[mh] {
		if x.access(r.id) < Member {
			continue
		}
		if e, only := r.onlyHave(mh); only {
			x.strike(r, mh)
			released[r] = e
		}
	}
	x.mu.Unlock()
	for r, e := range released {
		r.tell(e, false, nil)
		r.startWriting()
	}
}

// onlyHave returns the want of a block that is on record, and whether it is a WantHave.
func (r *remote) onlyHave(mh string) (Entry, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.wants[mh]
	if w == nil || w.entry.Kind != WantHave {
		return Entry{}, false
	}
	return w.entry, true
}

// Waiting reports whether anybody waits for c, so that a block that was stored is
// worth an [Exchange.Answer].
func (x *Exchange) Waiting(c cid.Cid) bool {
	if x.waitingLen.Load() == 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.waiting[string(c.Hash())]) > 0
}

// tell queues an answer.
func (r *remote) tell(e Entry, have bool, b *block.Verified) {
	if !have && !e.SendDontHave {
		return
	}
	mh := string(e.Cid.Hash())
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		return
	}
	if a := r.queued[mh]; a != nil {
		if a.entry.Kind == WantHave {
			a.entry.Kind = e.Kind
		}
		if !a.have {
			a.have, a.block = have, b
		}
		return
	}
	if len(r.queued) >= r.x.opts.MaxWants {
		r.x.metrics.refused.WithLabelValues("flood").Inc()
		return
	}
	a := &answer{entry: e, have: have, block: b}
	r.queued[mh] = a
	r.answers = append(r.answers, a)
	signal(r.wakeBack)
}
