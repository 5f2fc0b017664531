package bitswap

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-cdn/shoal/block"
)

// ErrDontHave says that the peer answered DONT_HAVE.
var ErrDontHave = errors.New("peer does not have the block")

// Reply is what a peer said to an [Exchange.Ask]: a block, or HAVE, or an error.
type Reply struct {
	Block *block.Verified // has the CID that was asked for
	Have  bool
	// Err is or wraps [ErrDontHave], [ErrGone] or [ErrLied].
	Err error
}

// Ask is a want that was sent to a peer.
type Ask struct {
	remote  *remote
	cid     cid.Cid
	mh      string
	kind    Kind
	deliver func(Reply)
}

// ask is what several Asks of one block from one peer share.
type ask struct {
	cid  cid.Cid
	kind Kind // the stronger of what was sent: WantBlock, if any
	subs []*Ask
	// upgraded says that a WantBlock was sent while a WantHave was unanswered. The
	// next DONT_HAVE may be the answer to either.
	upgraded bool
}

// Ask sends a want to a peer, which must be connected, and returns at once. deliver
// is called once with what the peer says, from any goroutine, maybe before Ask
// returns; it must not block. There is no timeout.
//
// A WantHave can be answered with the block. A WantBlock is never answered with
// HAVE.
func (x *Exchange) Ask(p peer.ID, c cid.Cid, kind Kind, deliver func(Reply)) *Ask {
	a := &Ask{cid: c, mh: string(c.Hash()), kind: kind, deliver: deliver}
	r := x.remote(p)
	if r == nil || !r.ask(a) {
		deliver(Reply{Err: ErrGone})
	}
	return a
}

// ask puts a on record and sends it if need be. It reports whether the peer is
// still there.
func (r *remote) ask(a *Ask) bool {
	a.remote = r
	r.mu.Lock()
	if r.ended != nil {
		r.mu.Unlock()
		return false
	}
	shared := r.asks[a.mh]
	switch {
	case shared == nil:
		shared = &ask{cid: a.cid, kind: a.kind}
		r.asks[a.mh] = shared
		r.want(shared)
	case shared.kind == WantHave && a.kind == WantBlock:
		shared.kind, shared.upgraded = WantBlock, true
		r.want(shared)
	}
	shared.subs = append(shared.subs, a)
	r.mu.Unlock()
	r.x.metrics.asked.WithLabelValues(a.kind.String()).Inc()
	r.startWriting()
	return true
}

// want queues the want for sending. r.mu is held.
func (r *remote) want(shared *ask) {
	r.out = append(r.out, Entry{Cid: shared.cid, Priority: 1, Kind: shared.kind, SendDontHave: true})
	signal(r.wake)
}

// Resend sends the want again, unless it was answered.
func (a *Ask) Resend() {
	r := a.remote
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if shared := r.asks[a.mh]; shared != nil && slices.Contains(shared.subs, a) {
		r.want(shared)
		r.x.metrics.resent.Inc()
	}
}

// Cancel takes the want back, unless it was answered. A reply that is being
// delivered at that moment is still delivered.
func (a *Ask) Cancel() {
	r := a.remote
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	shared := r.asks[a.mh]
	if shared == nil {
		return
	}
	i := slices.Index(shared.subs, a)
	if i < 0 {
		return
	}
	shared.subs = slices.Delete(shared.subs, i, i+1)
	if len(shared.subs) == 0 {
		delete(r.asks, a.mh)
		r.remember(a.mh)
		r.out = append(r.out, Entry{Cid: shared.cid, Cancel: true})
		signal(r.wake)
	}
}

const (
	// maxEntries is how many wants go into one message.
	maxEntries = 1024
	// maxRefused is how often a peer may refuse our wants before it counts as gone.
	maxRefused = 3
)

// writeWants sends what is queued in r.out until the peer is gone.
func (r *remote) writeWants() {
	var stream *outStream
	refused := 0 // streams in a row that were closed as soon as they were opened
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-stream.died():
			if refused++; time.Since(stream.opened) > time.Second {
				refused = 0
			}
			if refused >= maxRefused {
				r.x.drop(r)
				return
			}
			// What was sent on it may not have arrived.
			stream = nil
			r.wantAll()
		}
		for batch := r.nextWants(); len(batch) > 0; batch = r.nextWants() {
			if stream = r.sendWants(stream, batch); stream == nil {
				r.x.drop(r)
				return
			}
		}
	}
}

// wantAll queues everything that is not answered yet once more.
func (r *remote) wantAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out = nil
	for _, shared := range r.asks {
		r.want(shared)
	}
	r.x.metrics.resent.Add(float64(len(r.asks)))
}

// nextWants takes the next message's entries off the queue. Of several entries
// with one CID only the last is sent: other implementations read the entries of a
// message in no particular order.
func (r *remote) nextWants() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.out), maxEntries)
	batch := r.out[:n:n]
	if r.out = r.out[n:]; len(r.out) == 0 {
		r.out = nil
	}
	if n < 2 {
		return batch
	}
	last := make(map[cid.Cid]int, n)
	for i, e := range batch {
		last[e.Cid] = i
	}
	kept := batch[:0]
	for i, e := range batch {
		if last[e.Cid] == i {
			kept = append(kept, e)
		}
	}
	return kept
}

// sendWants writes one message, on a new stream if there is none or it fails. It
// returns the stream, or nil if the message could not be sent.
func (r *remote) sendWants(stream *outStream, batch []Entry) *outStream {
	msg := appendWantlist(nil, batch)
	for range 2 {
		if stream == nil || !stream.alive() {
			var err error
			if stream, err = r.open(4 << 10); err != nil {
				r.x.log.Debug("bitswap: cannot open a stream", "peer", r.id, "err", err)
				return nil
			}
		}
		if err := stream.send(r.x.opts.SendTimeout, msg); err == nil {
			return stream
		}
		stream.s.Reset()
		stream = nil
	}
	return nil
}

// hashInline is the size of a block, in bytes, up to which it is not worth while
// to hash it elsewhere.
const hashInline = 16 << 10

// receiveBlocks checks blocks and hands them to those who asked for them. size is
// that of the whole message, and release is called when its bytes were dealt with.
func (r *remote) receiveBlocks(payload []Payload, size int, release func()) {
	for i, p := range payload {
		if len(p.Data) < size/2 {
			// The block would keep the whole message in memory.
			p.Data = bytes.Clone(p.Data)
		}
		if len(p.Data) <= hashInline || i < len(payload)-1 {
			r.receiveBlock(p)
			continue
		}
		// While this one is hashed, the next message can be read.
		r.x.hashing <- struct{}{}
		if r.x.run(func() {
			defer func() { <-r.x.hashing }()
			defer release()
			r.receiveBlock(p)
		}) {
			return
		}
		<-r.x.hashing
	}
	release()
}

func (r *remote) receiveBlock(p Payload) {
	b, err := block.Sum(p.Prefix, p.Data)
	if err != nil {
		r.x.metrics.refused.WithLabelValues("block").Inc()
		r.x.log.Debug("bitswap: block refused", "peer", r.id, "err", err)
		return
	}
	mh := string(b.Cid().Hash())
	r.mu.Lock()
	shared := r.asks[mh]
	if shared == nil {
		late := r.askedLately(mh)
		r.mu.Unlock()
		if late {
			r.x.metrics.duplicates.Inc()
		} else {
			r.lied(b)
		}
		return
	}
	delete(r.asks, mh)
	r.remember(mh)
	r.mu.Unlock()
	r.x.stamp(&r.received)
	r.x.metrics.received.Add(float64(len(p.Data)))
	if r.x.receivedFrom != nil {
		r.x.receivedFrom(r.id, len(p.Data))
	}
	for _, a := range shared.subs {
		asked, err := b.As(a.cid)
		a.deliver(Reply{Block: asked, Err: err})
	}
}

// lied fails everything that was asked of a peer that sent what it was not asked
// for. If nothing was asked, there is nobody to be misled.
func (r *remote) lied(b *block.Verified) {
	r.x.metrics.refused.WithLabelValues("unasked").Inc()
	r.mu.Lock()
	failed := r.takeAsks()
	r.mu.Unlock()
	if len(failed) == 0 {
		return
	}
	r.x.log.Warn("bitswap: a peer sent bytes that were not asked for", "peer", r.id, "cid", b.Cid(), "bytes", len(b.RawData()))
	for _, a := range failed {
		a.deliver(Reply{Err: ErrLied})
	}
}

func (r *remote) receivePresences(presences []Presence) {
	for _, p := range presences {
		reply := Reply{Have: true}
		if !p.Have {
			reply = Reply{Err: ErrDontHave}
		}
		for _, a := range r.answered(p) {
			a.deliver(reply)
		}
	}
}

// answered takes those off the record whom a HAVE or DONT_HAVE answers.
func (r *remote) answered(p Presence) (told []*Ask) {
	mh := string(p.Cid.Hash())
	r.mu.Lock()
	defer r.mu.Unlock()
	shared := r.asks[mh]
	if shared == nil {
		return nil
	}
	onlyHave := p.Have
	if shared.upgraded {
		if shared.upgraded = false; !p.Have {
			// Ask once more; if it was the answer to both, it comes again.
			onlyHave = true
			r.want(shared)
		}
	}
	var rest []*Ask
	for _, a := range shared.subs {
		if onlyHave && a.kind == WantBlock {
			rest = append(rest, a)
		} else {
			told = append(told, a)
		}
	}
	if shared.subs = rest; len(rest) == 0 {
		delete(r.asks, mh)
		r.remember(mh)
	}
	return told
}
