package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
)

// Pins are the fleet's pins, whoever owns them. An ID stands for one pin; a CID for
// all pins of it.
type Pins interface {
	// Add makes a pin, durably, and returns it without waiting for its content.
	Add(ctx context.Context, owner string, request record.Request) (record.View, error)
	// Walk calls visit for every pin of an owner, or of all if it is empty, that a query
	// selects, the newest first, and returns how many these are. An error of visit ends it.
	Walk(ctx context.Context, owner string, q record.Query, visit func(record.View) error) (int, error)
	// Lookup returns pins with all that is known of each edge, at least one.
	Lookup(ctx context.Context, idOrCID string) ([]record.View, error)
	// Verify has every edge that holds a pin read and check it. It calls progress from
	// one goroutine at a time.
	Verify(ctx context.Context, id string, progress func(record.EdgeProgress)) ([]record.EdgeCheck, error)
	// Unpin ends pins, and returns which.
	Unpin(ctx context.Context, idOrCID string) ([]record.View, error)
}

// PinParams say what to do with a pin.
type PinParams struct {
	Name     string
	Replicas int // 0 for the fleet's default
}

// Pin is a [record.View] as JSON.
type Pin struct {
	ID       string            `json:"id"`
	CID      string            `json:"cid"`
	Name     string            `json:"name,omitempty"`
	Owner    string            `json:"owner"` // operator, or a digest of a token
	Created  time.Time         `json:"created"`
	Status   record.Status     `json:"status"`
	Replicas int               `json:"replicas"` // asked for
	Info     map[string]string `json:"info,omitempty"`
	Origins  []string          `json:"origins,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	// Edges says how far each edge is; only when the status was asked for.
	Edges []record.EdgeShare `json:"edges,omitempty"`
}

func pinOf(v record.View) Pin {
	return Pin{
		ID: v.ID, CID: v.CID.String(), Name: v.Name, Owner: v.Owner, Created: v.Created, Status: v.Status,
		Replicas: v.Replicas, Info: v.Info, Origins: v.Origins, Meta: v.Meta, Edges: v.Edges,
	}
}

func pinsOf(views []record.View) PinsResult {
	var r PinsResult
	for _, v := range views {
		r.Pins = append(r.Pins, pinOf(v))
	}
	return r
}

// PinLine is one line of an answer about pins: one of these.
type PinLine struct {
	Pin      *Pin                 `json:"pin,omitempty"`
	Progress *record.EdgeProgress `json:"progress,omitempty"`
	Verified []record.EdgeCheck   `json:"verified,omitempty"`
	Count    *int                 `json:"count,omitempty"` // the last line of a list
	Error    *problem.Body        `json:"error,omitempty"`
}

// PinsResult is the answer about some pins.
type PinsResult struct {
	Pins []Pin `json:"pins"`
}

func (a *Admin) pinRoutes(r chi.Router) {
	r.Get("/api/v1/pins", a.listPins)
	r.Post("/api/v1/pins", a.addPin)
	r.With(answerInTime).Delete("/api/v1/pins/{id}", a.removePins)
	r.Get("/api/v1/pins/{id}", a.pinStatus)
	r.Post("/api/v1/pins/{id}/verify", a.verifyPin)
}

// service hands requests to the pinning service, which has tokens of its own.
func (a *Admin) service(w http.ResponseWriter, r *http.Request) {
	if a.deps.PinService == nil {
		writeError(w, problem.NotFound, "there is no pinning service here")
		return
	}
	a.deps.PinService.ServeHTTP(w, r)
}

func (a *Admin) addPin(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "path", "name", "replicas", "wait")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	request := record.Request{Name: q.Get("name")}
	wait := false
	if err = checkName(request.Name); err == nil && q.Get("path") == "" {
		err = badRequest("path is missing: expected a CID, /ipfs/CID/path or /ipns/NAME/path")
	}
	if err == nil {
		request.Replicas, err = q.number("replicas", 0, record.MaxReplicas)
	}
	if err == nil {
		wait, err = q.flag("wait", false)
	}
	if err == nil {
		request.CID, err = a.deps.Resolve(r.Context(), q.Get("path"))
	}
	var view record.View
	if err == nil {
		view, err = a.deps.Pins.Add(r.Context(), record.Operator, request)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out, pin := a.lines(w), pinOf(view)
	if wait {
		a.followPin(r.Context(), out, pin)
		return
	}
	out.send(PinLine{Pin: &pin})
}

// followPin writes how far a pin is whenever that changed, until it is pinned or has
// failed, or the client has gone.
func (a *Admin) followPin(ctx context.Context, out *lineWriter, pin Pin) {
	tick := time.NewTicker(a.opts.ProgressInterval)
	defer tick.Stop()
	last := Pin{}
	for {
		if !reflect.DeepEqual(pin, last) {
			out.send(PinLine{Pin: &pin})
			last = pin
		}
		if pin.Status == record.Pinned || pin.Status == record.Failed {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := a.deps.Pins.Lookup(ctx, pin.ID)
		if err != nil {
			out.send(PinLine{Error: bodyOf(err)})
			return
		}
		pin = pinOf(now[0])
	}
}

func (a *Admin) listPins(w http.ResponseWriter, r *http.Request) {
	query, err := pinQuery(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.lines(w)
	count, err := a.deps.Pins.Walk(r.Context(), "", query, func(v record.View) error {
		p := pinOf(v)
		out.buffer(PinLine{Pin: &p})
		return context.Cause(r.Context())
	})
	if err != nil {
		out.send(PinLine{Error: bodyOf(err)})
		return
	}
	out.send(PinLine{Count: &count})
}

// pinQuery reads the filters.
func pinQuery(r *http.Request) (pq record.Query, err error) {
	q, err := parseQuery(r, "cid", "name", "match", "status", "before", "after", "limit")
	if err != nil {
		return pq, err
	}
	pq.Name = q.Get("name")
	for text := range strings.SplitSeq(q.Get("cid"), ",") {
		if text == "" {
			continue
		}
		c, err := cid.Decode(text)
		if err != nil {
			return pq, badRequest("cid %q: expected a CID: %v", clip(text), err)
		}
		pq.CIDs = append(pq.CIDs, c)
	}
	if pq.Match, err = oneOf(q, "match", record.Exact, record.IExact, record.Partial, record.IPartial); err != nil {
		return pq, err
	}
	for text := range strings.SplitSeq(q.Get("status"), ",") {
		switch status := record.Status(text); status {
		case "":
		case record.Queued, record.Pinning, record.Pinned, record.Failed:
			pq.Statuses = append(pq.Statuses, status)
		default:
			return pq, badRequest("status %q: expected queued, pinning, pinned or failed", clip(text))
		}
	}
	for name, to := range map[string]*time.Time{"before": &pq.Before, "after": &pq.After} {
		if text := q.Get(name); text != "" {
			if *to, err = time.Parse(time.RFC3339, text); err != nil {
				return pq, badRequest("%s %q: expected a time such as 2006-01-02T15:04:05Z", name, clip(text))
			}
		}
	}
	pq.Limit, err = q.number("limit", 0, 1_000_000)
	return pq, err
}

func (q query) number(name string, otherwise, most int) (int, error) {
	if !q.Has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(q.Get(name))
	if err != nil || n < 1 || n > most {
		return 0, badRequest("%s is %q, expected a number from 1 to %d", name, clip(q.Get(name)), most)
	}
	return n, nil
}

func oneOf[T ~string](q query, name string, values ...T) (T, error) {
	text := q.Get(name)
	for _, v := range values {
		if text == string(v) {
			return v, nil
		}
	}
	if text == "" {
		return "", nil
	}
	return "", badRequest("%s is %q, expected one of %q", name, clip(text), values)
}

func (a *Admin) pinStatus(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "wait")
	wait := false
	if err == nil {
		wait, err = q.flag("wait", false)
	}
	var pins []record.View
	if err == nil {
		pins, err = a.deps.Pins.Lookup(r.Context(), chi.URLParam(r, "id"))
	}
	switch {
	case err != nil:
		a.fail(w, r, err)
	case wait:
		a.followPin(r.Context(), a.lines(w), pinOf(pins[0]))
	default:
		writeJSON(w, http.StatusOK, pinsOf(pins))
	}
}

func (a *Admin) removePins(w http.ResponseWriter, r *http.Request) {
	removed, err := a.deps.Pins.Unpin(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, pinsOf(removed))
}

func (a *Admin) verifyPin(w http.ResponseWriter, r *http.Request) {
	pins, err := a.deps.Pins.Lookup(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.lines(w)
	var last time.Time
	found, err := a.deps.Pins.Verify(r.Context(), pins[0].ID, func(p record.EdgeProgress) {
		if now := time.Now(); now.Sub(last) >= a.opts.ProgressInterval {
			last = now
			out.send(PinLine{Progress: &p})
		}
	})
	if err != nil {
		out.send(PinLine{Error: bodyOf(err)})
		return
	}
	out.send(PinLine{Verified: append([]record.EdgeCheck{}, found...)})
}

// lines begins an answer of JSON lines.
func (a *Admin) lines(w http.ResponseWriter) *lineWriter {
	return &lineWriter{w: w, control: http.NewResponseController(w), stall: a.opts.StallTimeout}
}

// send writes a line and has it be sent at once.
func (l *lineWriter) send(line any) {
	l.buffer(line)
	_ = l.control.Flush()
}

// buffer writes a line. A client that does not read any more shows by its request
// being cancelled.
func (l *lineWriter) buffer(line any) {
	if now := time.Now(); now.Sub(l.last) > time.Second {
		_ = l.control.SetWriteDeadline(now.Add(l.stall))
		l.last = now
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(line)
}
