package service

import (
	"context"
	"net/http"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
)

// list is GET /pins.
func (s *Service) list(c *call) (int, any, error) {
	query, err := decodeQuery(c.r.URL.RawQuery)
	if err != nil {
		return 0, nil, err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), s.opts.AnswerTimeout)
	defer cancel()
	page, err := s.pins.List(ctx, c.owner, query)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, newPinResults(page), nil
}

// add is POST /pins.
func (s *Service) add(c *call) (int, any, error) {
	return s.change(c, func(ctx context.Context, request record.Request) (record.View, error) {
		return s.pins.Add(ctx, c.owner, request)
	})
}

// get is GET /pins/{requestid}.
func (s *Service) get(c *call) (int, any, error) {
	if len(c.id) > maxID {
		return 0, nil, record.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), s.opts.AnswerTimeout)
	defer cancel()
	view, err := s.pins.Get(ctx, c.owner, c.id)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, newPinStatus(view), nil
}

// replace is POST /pins/{requestid}.
func (s *Service) replace(c *call) (int, any, error) {
	return s.change(c, func(ctx context.Context, request record.Request) (record.View, error) {
		if len(c.id) > maxID {
			return record.View{}, record.ErrNotFound
		}
		return s.pins.Replace(ctx, c.owner, c.id, request)
	})
}

// remove is DELETE /pins/{requestid}.
func (s *Service) remove(c *call) (int, any, error) {
	if len(c.id) > maxID {
		return 0, nil, record.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), s.opts.AnswerTimeout)
	defer cancel()
	if err := s.pins.Remove(ctx, c.owner, c.id); err != nil {
		return 0, nil, err
	}
	return http.StatusAccepted, nil, nil
}

// change reads what is to be pinned and has it done.
func (s *Service) change(c *call, do func(context.Context, record.Request) (record.View, error)) (int, any, error) {
	body, err := s.readBody(c)
	if err != nil {
		return 0, nil, err
	}
	request, err := decodePin(body)
	if err != nil {
		return 0, nil, err
	}
	c.cid = request.CID.String()
	ctx, cancel := context.WithTimeout(c.r.Context(), s.opts.AnswerTimeout)
	defer cancel()
	view, err := do(ctx, request)
	if err != nil {
		return 0, nil, err
	}
	c.old, c.id = c.id, view.ID
	return http.StatusAccepted, newPinStatus(view), nil
}

// preflight answers a browser that asks what a page may do here: with a token, all.
// Tokens are no cookies; a page has one only if somebody gave it one.
func (s *Service) preflight(c *call) (int, any, error) {
	h := c.w.Header()
	h.Set("Allow", "GET, HEAD, POST, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept")
	h.Set("Access-Control-Max-Age", "7200") // seconds; no browser keeps it longer
	return http.StatusNoContent, nil, nil
}

// write writes an answer; body is JSON, or nil for none.
func (s *Service) write(w http.ResponseWriter, status int, body any) {
	// A recorder in a test has no deadlines, and needs none.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.opts.AnswerTimeout))
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	writeJSON(w, status, body)
}

// fail returns the answer for a problem, and sets its header.
func (s *Service) fail(w http.ResponseWriter, p *refusal) (status int, body any) {
	if p.header[0] != "" {
		w.Header().Set(p.header[0], p.header[1])
	}
	return p.status(), problem.Answer{Error: problem.Body{Reason: p.reason, Details: p.details}}
}
