package bitswap

import (
	"context"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
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
	block     blocks.Block // if it is at hand; otherwise it is read from the store
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
func (r *remote) settle(c cid.Cid, have bool, b blocks.Block) {
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

// Answer ends every want of c that the [Filler] has taken on: with b, or with
// DONT_HAVE if b is nil. Guests who wait for c get it too; nil leaves them waiting.
func (x *Exchange) Answer(c cid.Cid, b blocks.Block) {
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
		if b == nil && x.access(r.id) < Member {
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
func (r *remote) tell(e Entry, have bool, b blocks.Block) {
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

// writeAnswers sends what is queued in r.answers until the peer is gone.
func (r *remote) writeAnswers() {
	var stream *outStream
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-stream.died():
			stream = nil // the peer asks again for what was lost with it
			continue
		case <-r.wakeBack:
		}
		for {
			o := r.nextAnswers()
			if o == nil {
				break
			}
			if stream = r.sendAnswers(stream, o); stream == nil {
				r.x.drop(r)
				return
			}
		}
	}
}

// A message takes answers until it holds this many presences or bytes of blocks.
const (
	targetPresences = 1024
	targetBytes     = 128 << 10
)

// outgoing is the content of a message that is about to be written.
type outgoing struct {
	presences []Presence
	blocks    []blocks.Block
	bytes     int
}

// nextAnswers takes the next message off the queue and reads its blocks from the
// store. It returns nil if the queue is empty.
func (r *remote) nextAnswers() *outgoing {
	o := &outgoing{}
	for len(o.presences) < targetPresences && o.bytes < targetBytes {
		a := r.nextAnswer()
		if a == nil {
			break
		}
		switch b := r.load(a); {
		case b != nil:
			o.blocks = append(o.blocks, b)
			o.bytes += len(b.RawData())
		case a.have || a.entry.SendDontHave:
			o.presences = append(o.presences, Presence{Cid: a.entry.Cid, Have: a.have})
		}
	}
	if len(o.presences)+len(o.blocks) == 0 {
		return nil
	}
	return o
}

func (r *remote) nextAnswer() *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.answers) > 0 {
		a := r.answers[0]
		r.answers[0] = nil
		r.answers = r.answers[1:]
		if a.cancelled {
			continue
		}
		delete(r.queued, string(a.entry.Cid.Hash()))
		return a
	}
	r.answers = nil
	return nil
}

// load returns the block of an answer, under the CID that was asked for, or nil if
// only its presence was asked. A block that has left the store turns the answer
// into DONT_HAVE.
func (r *remote) load(a *answer) blocks.Block {
	if !a.have || a.entry.Kind == WantHave {
		return nil
	}
	b := a.block
	if b == nil {
		ctx, cancel := context.WithTimeout(r.ctx, r.x.opts.SendTimeout)
		defer cancel()
		var err error
		if b, err = r.x.store.Get(ctx, a.entry.Cid); err != nil {
			r.x.log.Debug("bitswap: cannot read a block to send", "cid", a.entry.Cid, "err", err)
			a.have = false
			return nil
		}
	}
	if b.Cid() != a.entry.Cid {
		b = block.Trusted(a.entry.Cid, b.RawData())
	}
	return b
}

// sendAnswers writes one message, on a new stream if there is none or it fails. It
// returns the stream, or nil if the message could not be sent.
func (r *remote) sendAnswers(stream *outStream, o *outgoing) *outStream {
	for range 2 {
		if stream == nil || !stream.alive() {
			var err error
			if stream, err = r.open(writeBuffer); err != nil {
				r.x.log.Debug("bitswap: cannot open a stream", "peer", r.id, "err", err)
				return nil
			}
		}
		err := stream.send(r.x.opts.SendTimeout, o.parts(stream.s.Protocol() == protocol10)...)
		if err == nil {
			r.x.metrics.served.Add(float64(o.bytes))
			r.x.metrics.servedBlocks.Add(float64(len(o.blocks)))
			return stream
		}
		stream.s.Reset()
		stream = nil
	}
	return nil
}

// parts returns the message in pieces; the blocks are not copied.
func (o *outgoing) parts(v0 bool) [][]byte {
	var head []byte
	if !v0 { // version 1.0.0 has no presences
		for _, p := range o.presences {
			head = appendPresence(head, p)
		}
	}
	parts := [][]byte{head}
	for _, b := range o.blocks {
		data := b.RawData()
		if v0 {
			head = appendV0BlockHead(nil, len(data))
		} else {
			head = appendPayloadHead(nil, b.Cid().Prefix(), len(data))
		}
		parts = append(parts, head, data)
	}
	return parts
}
