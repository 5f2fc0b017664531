package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/problem"
)

// pins keeps pins in memory. Each look at one brings it a step further.
type pins struct {
	mu   sync.Mutex
	list []admin.Pin
	fail bool // instead of being pinned
}

func (p *pins) find(idOrCID string) (found []int, err error) {
	for i := range p.list {
		if p.list[i].ID == idOrCID || p.list[i].CID == idOrCID {
			found = append(found, i)
		}
	}
	if found == nil {
		err = problem.With(problem.NotFound, fmt.Errorf("pin %q: no such pin", idOrCID))
	}
	return found, err
}

func (p *pins) Add(_ context.Context, target string, params admin.PinParams) (admin.Pin, error) {
	if strings.HasPrefix(target, "/bad") {
		return admin.Pin{}, problem.With(problem.BadRequest, errors.New("expected a CID"))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pin := admin.Pin{ID: fmt.Sprint(len(p.list) + 1), CID: target, Name: params.Name, Replicas: params.Replicas, Status: "queued", Owner: "operator"}
	p.list = append(p.list, pin)
	return pin, nil
}

func (p *pins) List(_ context.Context, q admin.PinQuery, each func(admin.Pin) error) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, pin := range slices.Backward(p.list) {
		if q.Name != "" && pin.Name != q.Name || len(q.Statuses) > 0 && !slices.Contains(q.Statuses, pin.Status) {
			continue
		}
		if n++; q.Limit == 0 || n <= q.Limit {
			if err := each(pin); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *pins) Status(_ context.Context, idOrCID string) ([]admin.Pin, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.find(idOrCID)
	var list []admin.Pin
	for _, i := range found {
		next := map[string]string{"queued": "pinning", "pinning": "pinned"}[p.list[i].Status]
		if next == "pinned" && p.fail {
			next = "failed"
		}
		if next != "" {
			p.list[i].Status = next
		}
		list = append(list, p.list[i])
	}
	return list, err
}

func (p *pins) Verify(_ context.Context, id string, progress func(admin.PinProgress)) ([]admin.PinCheck, error) {
	progress(admin.PinProgress{Edge: "here", Blocks: 1, Bytes: 10})
	return []admin.PinCheck{{Edge: "here", Blocks: 2, Bytes: 20}, {Edge: "there", Error: "cannot be asked"}}, nil
}

func (p *pins) Remove(_ context.Context, idOrCID string) (removed []admin.Pin, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.find(idOrCID)
	for _, i := range slices.Backward(found) {
		removed = append(removed, p.list[i])
		p.list = slices.Delete(p.list, i, i+1)
	}
	return removed, err
}

func pinLines(t *testing.T, text string) (lines []admin.PinLine) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	for dec.More() {
		var line admin.PinLine
		if err := dec.Decode(&line); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestPins(t *testing.T) {
	d := open(t, newContent(), func(o *admin.Options) { o.ProgressInterval = time.Millisecond })
	base := d.url + "/api/v1/pins"
	status, body, _ := ask(t, http.MethodPost, base+"?path=bafyone&name=one&replicas=3", nil)
	if lines := pinLines(t, body); status != 200 || len(lines) != 1 || lines[0].Pin.Replicas != 3 || lines[0].Pin.Status != "queued" {
		t.Fatalf("add: %d %s", status, body)
	}
	status, body, header := ask(t, http.MethodPost, base+"?path=bafytwo&wait=true", nil)
	var states []string
	for _, line := range pinLines(t, body) {
		states = append(states, line.Pin.Status)
	}
	if status != 200 || strings.Join(states, " ") != "queued pinning pinned" || header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("add and wait: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodGet, base+"?status=pinned,failed&limit=10", nil)
	if lines := pinLines(t, body); status != 200 || len(lines) != 2 || lines[0].Pin.CID != "bafytwo" || *lines[1].Count != 1 {
		t.Errorf("list: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodGet, base+"/bafyone", nil)
	if status != 200 || !strings.Contains(body, `"status":"pinning"`) {
		t.Errorf("status: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodPost, base+"/1/verify", nil)
	if lines := pinLines(t, body); status != 200 || len(lines[len(lines)-1].Verified) != 2 {
		t.Errorf("verify: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodDelete, base+"/1", nil)
	if status != 200 || !strings.Contains(body, "bafyone") {
		t.Errorf("remove: %d %s", status, body)
	}
	for _, bad := range []struct {
		method, path string
		status       int
		reason       problem.Reason
	}{
		{http.MethodPost, "", 400, problem.BadRequest},
		{http.MethodPost, "?path=/bad", 400, problem.BadRequest},
		{http.MethodPost, "?path=x&replicas=101", 400, problem.BadRequest},
		{http.MethodPost, "?path=x&replicas=no", 400, problem.BadRequest},
		{http.MethodPost, "?path=x&name=" + strings.Repeat("n", 256), 400, problem.BadRequest},
		{http.MethodPost, "?path=x&name=%1b%5b31m", 400, problem.BadRequest},
		{http.MethodPost, "?path=x&wiat=true", 400, problem.BadRequest},
		{http.MethodGet, "?status=lost", 400, problem.BadRequest},
		{http.MethodGet, "?cid=nothing", 400, problem.BadRequest},
		{http.MethodGet, "?match=maybe", 400, problem.BadRequest},
		{http.MethodGet, "?before=yesterday", 400, problem.BadRequest},
		{http.MethodGet, "/none", 404, problem.NotFound},
		{http.MethodDelete, "/none", 404, problem.NotFound},
		{http.MethodPost, "/none/verify", 404, problem.NotFound},
	} {
		status, body, _ := ask(t, bad.method, base+bad.path, nil)
		wantError(t, status, body, bad.status, bad.reason, "")
	}
}

// The pinning service has tokens of its own, so neither the admin token nor the page's
// origin matters there. Everything else about pins is guarded.
func TestPinServiceIsLetThrough(t *testing.T) {
	c := newContent()
	deps := c.deps()
	deps.PinService = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "service ", r.Method, r.URL.Path) })
	d := openDeps(t, deps, func(o *admin.Options) { o.Token = "secret-secret" })
	status, body, _ := ask(t, http.MethodPost, d.url+"/pins/x", nil, "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site")
	if status != 200 || body != "service POST/pins/x" {
		t.Errorf("got %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodGet, d.url+"/api/v1/pins", nil)
	wantError(t, status, body, 401, problem.Unauthorized, "")
	status, body, _ = ask(t, http.MethodPost, d.url+"/api/v1/pins?path=x", nil, "Origin", "https://elsewhere.example", "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer secret-secret")
	wantError(t, status, body, 403, problem.Forbidden, "")
}
