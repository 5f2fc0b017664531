package bitswap

import (
	"context"

	"github.com/shoal-cdn/shoal/block"
)

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
	blocks    []*block.Verified
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
func (r *remote) load(a *answer) *block.Verified {
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
	b, err := b.As(a.entry.Cid)
	if err != nil {
		r.x.log.Error("bitswap: the store gave another block than was asked for", "err", err)
		a.have = false
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
