package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/swarm/members"
)

// callProtocol carries one request from a member and the answer to it, both JSON.
const callProtocol protocol.ID = "/shoal/call/1"

const (
	// maxCall bounds a request and an answer, in bytes.
	maxCall = 1 << 20
	// callTimeout ends a call that takes too long, on the side that answers.
	callTimeout = 30 * time.Second
)

// Handler answers the calls of other members to one method. from is the caller's
// name. What it returns is sent as JSON; the text of an error is sent too.
type Handler func(ctx context.Context, from string, request json.RawMessage) (any, error)

type callRequest struct {
	Method string          `json:"method"`
	Body   json.RawMessage `json:"body,omitempty"`
}

type callAnswer struct {
	Error string          `json:"error,omitempty"`
	Body  json.RawMessage `json:"body,omitempty"`
}

// Handle answers the calls of other members to a method. It must be called before
// Start.
func (s *Swarm) Handle(method string, h Handler) { s.calls[method] = h }

// Call has another member do something: it sends request to the handler of that
// method over there and puts the answer into response, which may be nil.
func (s *Swarm) Call(ctx context.Context, member, method string, request, response any) error {
	wrap := func(err error) error { return fmt.Errorf("call %s at %s: %w", method, member, err) }
	if s.fleet == nil {
		return wrap(errors.New("this edge stands alone"))
	}
	id, ok := s.fleet.ID(member)
	if !ok {
		return wrap(errors.New("no such member"))
	}
	if err := s.callPeer(ctx, id, method, request, response); err != nil {
		return wrap(err)
	}
	return nil
}

func (s *Swarm) callPeer(ctx context.Context, id peer.ID, method string, request, response any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := s.exchangeCall(ctx, id, &callRequest{Method: method, Body: body})
	switch {
	case err != nil:
		return err
	case answer.Error != "":
		return errors.New(answer.Error)
	case response == nil:
		return nil
	}
	if err := json.Unmarshal(answer.Body, response); err != nil {
		return fmt.Errorf("malformed answer: %w", err)
	}
	return nil
}

func (s *Swarm) exchangeCall(ctx context.Context, id peer.ID, request *callRequest) (*callAnswer, error) {
	if err := s.fleet.Connect(ctx, id); err != nil {
		return nil, err
	}
	stream, err := s.host.NewStream(network.WithNoDial(ctx, "call"), id, callProtocol)
	if err != nil {
		return nil, err
	}
	defer stream.Reset()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	answer := &callAnswer{}
	err = json.NewEncoder(stream).Encode(request)
	if err == nil {
		err = stream.CloseWrite()
	}
	if err == nil {
		err = json.NewDecoder(io.LimitReader(stream, maxCall)).Decode(answer)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return answer, err
}

// handleCalls begins to answer.
func (s *Swarm) handleCalls() {
	s.calls["why"] = s.why
	s.calls["has"] = s.has
	s.calls["adopt"] = s.adopt
	s.calls["used"] = s.used
	s.calls["stored"] = s.heardOf
	s.host.SetStreamHandler(callProtocol, func(stream network.Stream) {
		if !s.run(func() {
			defer stream.Close()
			if err := s.answerCall(stream); err != nil {
				s.log.Debug("swarm: a call failed", "peer", stream.Conn().RemotePeer(), "err", err)
				stream.Reset()
			}
		}) {
			stream.Reset()
		}
	})
}

func (s *Swarm) answerCall(stream network.Stream) error {
	name, ok := s.fleet.Name(stream.Conn().RemotePeer())
	if !ok {
		return errors.New("not a member")
	}
	s.fleet.Used(stream.Conn().RemotePeer())
	ctx, cancel := context.WithTimeout(s.ctx, callTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() { stream.Reset() })()
	var request callRequest
	if err := json.NewDecoder(io.LimitReader(stream, maxCall)).Decode(&request); err != nil {
		return err
	}
	answer := &callAnswer{}
	h := s.calls[request.Method]
	if h == nil {
		answer.Error = fmt.Sprintf("unknown method %.64q", request.Method)
	} else if result, err := h(ctx, name, request.Body); err != nil {
		answer.Error = err.Error()
	} else if answer.Body, err = json.Marshal(result); err != nil {
		return err
	}
	return json.NewEncoder(stream).Encode(answer)
}

// reason is what a home knows about a block that it did not send: DONT_HAVE, and even
// more so silence, have no room for it.
type reason struct {
	// Working says that it is looking for the block and the caller waits for that. Edges
	// of earlier versions do not say.
	Working *bool `json:"working,omitempty"`
	// Failed says that it tried. If not, it did not take itself for a home.
	Failed     bool          `json:"failed,omitempty"`
	NotFound   bool          `json:"not_found,omitempty"`
	RetryAfter time.Duration `json:"retry_after,omitempty"`
	// Left is for how long it goes on saying so without trying again.
	Left time.Duration `json:"left,omitempty"`
	// Missing are the members that may have it and did not answer, by name.
	Missing []string `json:"missing,omitempty"`
}

// why tells a sibling why this edge has not sent a block: it is still looking, or said
// that it does not have it.
func (s *Swarm) why(_ context.Context, from string, request json.RawMessage) (any, error) {
	c, err := requestedCID(request)
	if err != nil {
		return nil, err
	}
	caller, _ := s.fleet.ID(from)
	mh := string(c.Hash())
	working := false
	s.mu.Lock()
	failure, left := s.failures.get(mh), s.failures.left(mh)
	for _, f := range s.fillsOf(c) {
		_, waits := f.remote[caller]
		working = working || waits
	}
	s.mu.Unlock()
	r := reason{Working: &working, Failed: failure != nil, NotFound: ipld.IsNotFound(failure), Left: left}
	var unavailable *block.UnavailableError
	if errors.As(failure, &unavailable) {
		r.RetryAfter = unavailable.RetryAfter
	}
	var missing *missingError
	if errors.As(failure, &missing) {
		r.Missing = missing.names[:min(len(missing.names), 2*maxNamed)]
	}
	return r, nil
}

func requestedCID(request json.RawMessage) (cid.Cid, error) {
	var text string
	if err := json.Unmarshal(request, &text); err != nil {
		return cid.Undef, err
	}
	return cid.Decode(text)
}

// reasons asks homes why they do not have a block. It returns nil if none of them
// has looked for it, and not found only if all that have say so.
func (s *Swarm) reasons(ctx context.Context, names []string, c cid.Cid) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.HedgeMax)
	defer cancel()
	all, errs := make([]reason, len(names)), make([]error, len(names))
	var calls sync.WaitGroup
	for i, name := range names {
		calls.Go(func() { errs[i] = s.Call(ctx, name, "why", c.String(), &all[i]) })
	}
	calls.Wait()
	var wait, left time.Duration
	var missing []string
	looked, found := false, true
	for i, r := range all {
		switch {
		case errs[i] != nil:
			missing = append(missing, names[i])
		case r.Failed:
			looked, found = true, found && r.NotFound
			missing = append(missing, r.Missing...)
			wait, left = max(wait, r.RetryAfter), max(left, r.Left)
		}
	}
	switch {
	case !looked:
		return nil
	case len(missing) > 0:
		return &hearsay{unanswered(c, missing), left}
	case found:
		return block.NotFound(c)
	}
	return &hearsay{&block.UnavailableError{
		Cid: c, From: "siblings " + strings.Join(names, ", "), RetryAfter: wait, Err: errors.New("they could not get it"),
	}, left}
}

// Where asks everyone about a block.
func (s *Swarm) Where(ctx context.Context, c cid.Cid) (member.Whereabouts, error) {
	if err := block.CheckCID(c); err != nil {
		return member.Whereabouts{}, err
	}
	w := member.Whereabouts{CID: c.String(), Homes: []string{}, Holders: []string{}, Silent: []string{}}
	v := s.view.Load()
	for _, i := range v.ring.Homes(c.Hash(), homes, nil) {
		w.Homes = append(w.Homes, v.ring.Member(i).Name)
	}
	type found struct {
		has bool
		err error
	}
	all := s.Members()
	answers := make([]chan found, len(all))
	for i, m := range all {
		answer := make(chan found, 1)
		answers[i] = answer
		if m.Self {
			has, err := s.local.Has(ctx, c)
			answer <- found{has, err}
			continue
		}
		if !m.InRing() && m.State != members.Leaving {
			answer <- found{err: errors.New(string(m.State))}
			continue
		}
		if !s.run(func() {
			var has bool
			err := s.Call(ctx, m.Name, "has", c.String(), &has)
			answer <- found{has, err}
		}) {
			return w, ErrClosed
		}
	}
	for i, m := range all {
		switch f := <-answers[i]; {
		case f.err != nil:
			w.Silent = append(w.Silent, m.Name)
		case f.has:
			w.Holders = append(w.Holders, m.Name)
		}
	}
	return w, nil
}

func (s *Swarm) has(ctx context.Context, _ string, request json.RawMessage) (any, error) {
	c, err := requestedCID(request)
	if err != nil {
		return nil, err
	}
	return s.local.Has(ctx, c)
}
