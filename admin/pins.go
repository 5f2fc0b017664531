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

	"github.com/shoal-cdn/shoal/problem"
)

// Pins are the fleet's pins, whoever owns them. An ID stands for one pin; a CID for
// all pins of it.
type Pins interface {
	// Add pins what target names, a CID or a path, for the operator.
	Add(ctx context.Context, target string, p PinParams) (Pin, error)
	// List calls each for every pin that a query selects, the newest first, and returns
	// how many these are. An error of each ends it.
	List(ctx context.Context, q PinQuery, each func(Pin) error) (int, error)
	// Status returns pins with all that is known of each edge, at least one.
	Status(ctx context.Context, idOrCID string) ([]Pin, error)
	// Verify has every edge that holds a pin read and check it. It calls progress from
	// one goroutine at a time.
	Verify(ctx context.Context, id string, progress func(PinProgress)) ([]PinCheck, error)
	// Remove ends pins, and returns which.
	Remove(ctx context.Context, idOrCID string) ([]Pin, error)
}

// PinParams say what to do with a pin.
type PinParams struct {
	Name     string
	Replicas int // 0 for the fleet's default
}

// PinQuery selects pins. The zero value selects all.
type PinQuery struct {
	CIDs     []cid.Cid
	Name     string
	Match    string // exact, iexact, partial or ipartial
	Statuses []string
	Before   time.Time
	After    time.Time
	Limit    int // 0: no bound
}

// Pin is one pin, as the operator sees it.
type Pin struct {
	ID       string            `json:"id"`
	CID      string            `json:"cid"`
	Name     string            `json:"name,omitempty"`
	Owner    string            `json:"owner"` // operator, or a digest of a token
	Created  time.Time         `json:"created"`
	Status   string            `json:"status"`
	Replicas int               `json:"replicas"` // asked for
	Info     map[string]string `json:"info,omitempty"`
	Origins  []string          `json:"origins,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	// Edges says how far each edge is; only when the status was asked for.
	Edges []PinEdge `json:"edges,omitempty"`
}

// PinEdge says how far an edge is with a pin.
type PinEdge struct {
	Edge     string    `json:"edge"`
	Assigned bool      `json:"assigned"` // it is to hold it
	Present  bool      `json:"present"`
	Status   string    `json:"status"`
	Blocks   int64     `json:"blocks"`
	Bytes    int64     `json:"bytes"`
	Reason   string    `json:"reason,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Verified time.Time `json:"verified,omitzero"`
}

// PinProgress is how far a verification is on one edge.
type PinProgress struct {
	Edge   string `json:"edge"`
	Blocks int64  `json:"blocks"`
	Bytes  int64  `json:"bytes"`
}

// PinCheck is what a verification found on one edge.
type PinCheck struct {
	Edge     string `json:"edge"`
	Blocks   int64  `json:"blocks"`
	Bytes    int64  `json:"bytes"`
	Repaired int64  `json:"repaired"` // blocks that were damaged or missing and are whole again
	Missing  int64  `json:"missing"`  // blocks that are damaged or missing, and that nobody has
	Error    string `json:"error,omitempty"`
}

// PinLine is one line of an answer about pins: one of these.
type PinLine struct {
	Pin      *Pin          `json:"pin,omitempty"`
	Progress *PinProgress  `json:"progress,omitempty"`
	Verified []PinCheck    `json:"verified,omitempty"`
	Count    *int          `json:"count,omitempty"` // the last line of a list
	Error    *problem.Body `json:"error,omitempty"`
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
	var p PinParams
	wait := false
	p.Name = q.Get("name")
	if err = checkName(p.Name); err == nil && q.Get("path") == "" {
		err = badRequest("path is missing: expected a CID, /ipfs/CID/path or /ipns/NAME/path")
	}
	if err == nil {
		p.Replicas, err = q.number("replicas", 0, 100)
	}
	if err == nil {
		wait, err = q.flag("wait", false)
	}
	var pin Pin
	if err == nil {
		pin, err = a.deps.Pins.Add(r.Context(), q.Get("path"), p)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.lines(w)
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
		if pin.Status == "pinned" || pin.Status == "failed" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, err := a.deps.Pins.Status(ctx, pin.ID)
		if err != nil {
			out.send(PinLine{Error: bodyOf(err)})
			return
		}
		pin = now[0]
	}
}

func (a *Admin) listPins(w http.ResponseWriter, r *http.Request) {
	query, err := pinQuery(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.lines(w)
	count, err := a.deps.Pins.List(r.Context(), query, func(p Pin) error {
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
func pinQuery(r *http.Request) (pq PinQuery, err error) {
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
	if pq.Match, err = q.oneOf("match", "exact", "iexact", "partial", "ipartial"); err != nil {
		return pq, err
	}
	for text := range strings.SplitSeq(q.Get("status"), ",") {
		switch text {
		case "":
		case "queued", "pinning", "pinned", "failed":
			pq.Statuses = append(pq.Statuses, text)
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

func (q query) oneOf(name string, values ...string) (string, error) {
	text := q.Get(name)
	for _, v := range values {
		if text == v {
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
	var pins []Pin
	if err == nil {
		pins, err = a.deps.Pins.Status(r.Context(), chi.URLParam(r, "id"))
	}
	switch {
	case err != nil:
		a.fail(w, r, err)
	case wait:
		a.followPin(r.Context(), a.lines(w), pins[0])
	default:
		writeJSON(w, http.StatusOK, PinsResult{pins})
	}
}

func (a *Admin) removePins(w http.ResponseWriter, r *http.Request) {
	removed, err := a.deps.Pins.Remove(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, PinsResult{removed})
}

func (a *Admin) verifyPin(w http.ResponseWriter, r *http.Request) {
	pins, err := a.deps.Pins.Status(r.Context(), chi.URLParam(r, "id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	out := a.lines(w)
	var last time.Time
	found, err := a.deps.Pins.Verify(r.Context(), pins[0].ID, func(p PinProgress) {
		if now := time.Now(); now.Sub(last) >= a.opts.ProgressInterval {
			last = now
			out.send(PinLine{Progress: &p})
		}
	})
	if err != nil {
		out.send(PinLine{Error: bodyOf(err)})
		return
	}
	out.send(PinLine{Verified: append([]PinCheck{}, found...)})
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
