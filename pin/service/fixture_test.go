package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	alice    = "token-of-alice"
	bob      = "token-of-bob"
	delegate = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWFVoLnbLVpQpqfHvJUi9mGiScoM2qF8BUsqPBcC8Ld3wm"
)

// shelf keeps pins in memory. It fetches nothing: a pin is in the state that the
// shelf gives to new ones until a test moves it.
type shelf struct {
	mu      sync.Mutex
	pins    []*record.View // oldest first
	made    int
	last    time.Time
	initial record.Status
}

func newShelf() *shelf { return &shelf{initial: record.Queued} }

func (s *shelf) add(owner, replaces string, r record.Request) record.View {
	// Each pin has a millisecond of its own.
	created := time.Now().UTC().Truncate(time.Millisecond)
	if !created.After(s.last) {
		created = s.last.Add(time.Millisecond)
	}
	s.last = created
	s.made++
	v := &record.View{
		Pin:       record.Pin{Request: r, ID: fmt.Sprintf("pin-%06d", s.made), Owner: owner, Created: created, Replaces: replaces},
		Status:    s.initial,
		Delegates: []string{delegate},
	}
	s.pins = append(s.pins, v)
	return *v
}

// index returns where an owner's pin is; -1 for nowhere.
func (s *shelf) index(owner, id string) int {
	return slices.IndexFunc(s.pins, func(v *record.View) bool { return v.ID == id && v.Owner == owner })
}

func (s *shelf) Add(_ context.Context, owner string, r record.Request) (record.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(owner, "", r), nil
}

func (s *shelf) Get(_ context.Context, owner, id string) (record.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(owner, id)
	if i < 0 {
		return record.View{}, record.ErrNotFound
	}
	return *s.pins[i], nil
}

func (s *shelf) Replace(_ context.Context, owner, id string, r record.Request) (record.View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(owner, id)
	if i < 0 {
		return record.View{}, record.ErrNotFound
	}
	s.pins = slices.Delete(s.pins, i, i+1)
	return s.add(owner, id, r), nil
}

func (s *shelf) Remove(_ context.Context, owner, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(owner, id)
	if i < 0 {
		return record.ErrNotFound
	}
	s.pins = slices.Delete(s.pins, i, i+1)
	return nil
}

func (s *shelf) List(_ context.Context, owner string, q record.Query) (record.Page, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var page record.Page
	match := q.Matcher()
	for _, v := range slices.Backward(s.pins) {
		if v.Owner != owner || !q.HasStatus(v.Status) || !match(&v.Pin) {
			continue
		}
		if page.Count++; len(page.Pins) < q.Limit {
			page.Pins = append(page.Pins, *v)
		}
	}
	return page, nil
}

// move sets the state of a pin.
func (s *shelf) move(id string, status record.Status, info map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.pins {
		if v.ID == id {
			v.Status, v.Info = status, info
		}
	}
}

// fill adds n pins with different content.
func (s *shelf) fill(owner string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		s.add(owner, "", record.Request{CID: content(fmt.Sprint(i))})
	}
}

// content returns the CID of a block with this text.
func content(text string) cid.Cid {
	mh, err := multihash.Sum([]byte(text), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return cid.NewCidV1(cid.Raw, mh)
}

// world is a pinning service that answers on a loopback port until the test ends.
type world struct {
	*service.Service
	t     testing.TB
	shelf *shelf
	url   string
	log   *bytes.Buffer // read it when no request is under way
	reg   *prometheus.Registry
}

func open(t testing.TB, pins service.Pins, change func(*service.Options)) *world {
	t.Helper()
	w := &world{t: t, log: new(bytes.Buffer), reg: prometheus.NewPedanticRegistry()}
	w.shelf, _ = pins.(*shelf)
	opts := service.DefaultOptions()
	opts.Tokens = []string{alice, bob}
	if change != nil {
		change(&opts)
	}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if w.Service, err = service.New(opts, pins, log, w.reg); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request and checks that the answer has one of the document's forms. Headers are names and
// values in turn; a value "-" takes a header away.
func (w *world) ask(token, method, target, body string, header ...string) answer {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+target, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "-" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, string(data)}
	checkForm(w.t, method, target, a)
	return a
}

// The document's schemas, with pointers where a field is required.
type (
	results struct {
		Count   *int      `json:"count"`
		Results *[]status `json:"results"`
	}
	status struct {
		RequestID *string            `json:"requestid"`
		Status    *string            `json:"status"`
		Created   *string            `json:"created"`
		Pin       *pinned            `json:"pin"`
		Delegates *[]string          `json:"delegates"`
		Info      *map[string]string `json:"info"`
	}
	pinned struct {
		CID     *string            `json:"cid"`
		Name    *string            `json:"name"`
		Origins *[]string          `json:"origins"`
		Meta    *map[string]string `json:"meta"`
	}
	failure struct {
		Error *struct {
			Reason  *string `json:"reason"`
			Details *string `json:"details"`
		} `json:"error"`
	}
)

// checkForm checks an answer against the document.
func checkForm(t testing.TB, method, target string, a answer) {
	t.Helper()
	what := fmt.Sprintf("%s %s: %d %s", method, target, a.status, a.body)
	if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: header %v", what, a.header)
	}
	if method == http.MethodHead {
		return
	}
	if a.status == http.StatusNoContent || method == http.MethodDelete && a.status == http.StatusAccepted {
		if a.body != "" {
			t.Errorf("%s: expected no body", what)
		}
		return
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s: type %q", what, got)
	}
	if strings.Contains(a.body, ":null") || strings.Contains(a.body, "[null") {
		t.Errorf("%s: null", what)
	}
	path, _, _ := strings.Cut(target, "?")
	switch {
	case a.status >= 400:
		f := decode[failure](t, a.body)
		if f.Error == nil || f.Error.Reason == nil || *f.Error.Reason == "" || problem.Reason(*f.Error.Reason).Status() != a.status {
			t.Errorf("%s: not a Failure with this status's reason", what)
		}
	case method == http.MethodGet && strings.TrimRight(path, "/") == "/pins":
		r := decode[results](t, a.body)
		if r.Count == nil || r.Results == nil || len(*r.Results) > 1000 || *r.Count < len(*r.Results) {
			t.Fatalf("%s: not PinResults", what)
		}
		for _, s := range *r.Results {
			checkStatus(t, what, s)
		}
	default:
		checkStatus(t, what, decode[status](t, a.body))
	}
}

func checkStatus(t testing.TB, what string, s status) {
	t.Helper()
	if s.RequestID == nil || s.Status == nil || s.Created == nil || s.Pin == nil || s.Pin.CID == nil || s.Delegates == nil {
		t.Fatalf("%s: a required field is missing", what)
	}
	if !slices.Contains([]string{"queued", "pinning", "pinned", "failed"}, *s.Status) {
		t.Errorf("%s: status %q", what, *s.Status)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", *s.Created); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if n := len(*s.Delegates); n < 1 || n > 20 {
		t.Errorf("%s: %d delegates", what, n)
	}
}

// decode decodes JSON into a type that has all fields.
func decode[T any](t testing.TB, text string) (v T) {
	t.Helper()
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// want checks the status of an answer and that the body has a text.
func (a answer) want(t testing.TB, status int, text string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, text) {
		t.Errorf("got %d %s, want %d with %q", a.status, a.body, status, text)
	}
}

// pin adds a pin and returns its requestid.
func (w *world) pin(token, body string) string {
	w.t.Helper()
	a := w.ask(token, "POST", "/pins", body)
	if a.status != http.StatusAccepted {
		w.t.Fatalf("got %d %s", a.status, a.body)
	}
	return *decode[status](w.t, a.body).RequestID
}

// found returns the names of the pins that a query finds, in order, and the count.
func (w *world) found(token, query string) string {
	w.t.Helper()
	a := w.ask(token, "GET", "/pins"+query, "")
	if a.status != http.StatusOK {
		w.t.Fatalf("%s: got %d %s", query, a.status, a.body)
	}
	r := decode[results](w.t, a.body)
	names := []string{}
	for _, s := range *r.Results {
		if s.Pin.Name == nil {
			names = append(names, "-")
			continue
		}
		names = append(names, *s.Pin.Name)
	}
	return fmt.Sprintf("%s of %d", strings.Join(names, ","), *r.Count)
}
