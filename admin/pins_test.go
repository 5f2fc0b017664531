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

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
)

// pins keeps pins in memory. Each look at one brings it a step further.
type pins struct {
	mu   sync.Mutex
	list []record.View
	fail bool // instead of being pinned
}

func (p *pins) find(idOrCID string) (found []int, err error) {
	for i := range p.list {
		if p.list[i].ID == idOrCID || p.list[i].CID.String() == idOrCID {
			found = append(found, i)
		}
	}
	if found == nil {
		err = problem.Errorf(problem.NotFound, "pin %q: no such pin", idOrCID)
	}
	return found, err
}

// resolve has a CID for every path.
func resolve(_ context.Context, path string) (cid.Cid, error) {
	if strings.HasPrefix(path, "/bad") {
		return cid.Undef, problem.With(problem.BadRequest, errors.New("expected a CID"))
	}
	return cidOf(path), nil
}

func cidOf(text string) cid.Cid {
	mh, _ := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	return cid.NewCidV1(cid.Raw, mh)
}

func (p *pins) Add(_ context.Context, owner string, request record.Request) (record.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pin := record.View{Pin: record.Pin{Request: request, ID: fmt.Sprint(len(p.list) + 1), Owner: owner}, Status: record.Queued}
	p.list = append(p.list, pin)
	return pin, nil
}

func (p *pins) Walk(_ context.Context, _ string, q record.Query, visit func(record.View) error) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, pin := range slices.Backward(p.list) {
		if q.Name != "" && pin.Name != q.Name || !q.HasStatus(pin.Status) {
			continue
		}
		if n++; q.Limit == 0 || n <= q.Limit {
			if err := visit(pin); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (p *pins) Lookup(_ context.Context, idOrCID string) ([]record.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, err := p.find(idOrCID)
	var list []record.View
	for _, i := range found {
		next := map[record.Status]record.Status{record.Queued: record.Pinning, record.Pinning: record.Pinned}[p.list[i].Status]
		if next == record.Pinned && p.fail {
			next = record.Failed
		}
		if next != "" {
			p.list[i].Status = next
		}
		list = append(list, p.list[i])
	}
	return list, err
}

func (p *pins) Verify(_ context.Context, id string, progress func(record.EdgeProgress)) ([]record.EdgeCheck, error) {
	progress(record.EdgeProgress{Edge: "here", Progress: record.Progress{Blocks: 1, Bytes: 10}})
	return []record.EdgeCheck{{Edge: "here", Check: record.Check{Blocks: 2, Bytes: 20}}, {Edge: "there", Error: "cannot be asked"}}, nil
}

func (p *pins) Unpin(_ context.Context, idOrCID string) (removed []record.View, err error) {
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
		states = append(states, string(line.Pin.Status))
	}
	if status != 200 || strings.Join(states, " ") != "queued pinning pinned" || header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("add and wait: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodGet, base+"?status=pinned,failed&limit=10", nil)
	if lines := pinLines(t, body); status != 200 || len(lines) != 2 || lines[0].Pin.CID != cidOf("bafytwo").String() || *lines[1].Count != 1 {
		t.Errorf("list: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodGet, base+"/"+cidOf("bafyone").String(), nil)
	if status != 200 || !strings.Contains(body, `"status":"pinning"`) {
		t.Errorf("status: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodPost, base+"/1/verify", nil)
	if lines := pinLines(t, body); status != 200 || len(lines[len(lines)-1].Verified) != 2 {
		t.Errorf("verify: %d %s", status, body)
	}
	status, body, _ = ask(t, http.MethodDelete, base+"/1", nil)
	if status != 200 || !strings.Contains(body, cidOf("bafyone").String()) {
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
