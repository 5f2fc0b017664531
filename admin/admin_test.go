package admin_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

const token = "correct-horse-battery"

var someCID = cid.MustParse("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")

func TestOptionsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		listen, token string
		want          string // in the error; "" for none
	}{
		{"127.0.0.1:8081", "", ""},
		{"127.9.9.9:0", "", ""},
		{"localhost:8081", "", ""},
		{"[::1]:8081", "", ""},
		{"[::ffff:127.0.0.1]:8081", "", ""},
		{":8081", token, ""},
		{"0.0.0.0:8081", token, ""},
		{":8081", "", "admin.token"},
		{"0.0.0.0:8081", "", "admin.token"},
		{"[::]:8081", "", "admin.token"},
		{"10.0.0.7:8081", "", `admin.listen: "10.0.0.7:8081"`},
		{"192.168.1.1:8081", "", "admin.token"},
		{"edge.example.org:8081", "", "admin.token"},
		{"localhost.example.org:8081", "", "admin.token"},
		{"8081", "", "expected host:port"},
		{"", "", "expected host:port"},
		{":8081", "two words", "space"},
		{":8081", "new\nline", "space"},
		{":8081", "tökén", "printable ASCII"},
	} {
		opts := admin.DefaultOptions()
		opts.Listen, opts.Token = tc.listen, tc.token
		err := opts.Validate()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("listen %q, token %q: got %v, want %q", tc.listen, tc.token, err, tc.want)
		}
		if err != nil && tc.token != "" && strings.Contains(err.Error(), tc.token) {
			t.Errorf("%v tells the token", err)
		}
	}
	for name, change := range map[string]func(*admin.Options){
		"MaxImports":       func(o *admin.Options) { o.MaxImports = 0 },
		"StallTimeout":     func(o *admin.Options) { o.StallTimeout = 0 },
		"ProgressInterval": func(o *admin.Options) { o.ProgressInterval = -1 },
		"DrainTimeout":     func(o *admin.Options) { o.DrainTimeout = 0 },
	} {
		opts := admin.DefaultOptions()
		change(&opts)
		if _, err := admin.New(opts, newContent().deps(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %s in it", err, name)
		}
	}
	if _, err := admin.New(admin.DefaultOptions(), admin.Deps{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no dependencies, no error")
	}
}

func TestServeRefusesAPublicListenerWithoutToken(t *testing.T) {
	a, err := admin.New(admin.DefaultOptions(), newContent().deps(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Skip(err)
	}
	if err := a.Serve(t.Context(), ln); err == nil || !strings.Contains(err.Error(), "admin.token") {
		t.Errorf("got %v", err)
	}
	if _, err := ln.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

func TestWhoMayEnter(t *testing.T) {
	guarded := []string{"GET /metrics", "GET /api/v1/stats", "POST /api/v1/add", "POST /api/v1/purge?path=x",
		"GET /debug/pprof/", "GET /debug/pprof/heap", "GET /debug/pprof/cmdline", "GET /debug/pprof/symbol"}
	free := []string{"GET /healthz", "GET /readyz", "GET /"}
	for _, tc := range []struct {
		name   string
		token  string
		header []string
		free   int // status of what is open to everyone
		want   int // status of the rest; 0 for any that is not 401 or 403
	}{
		{"token, none sent", token, nil, 200, 401},
		{"token, right", token, []string{"Authorization", "Bearer " + token}, 200, 0},
		{"token, scheme in capitals", token, []string{"Authorization", "BEARER  " + token}, 200, 0},
		{"token, wrong", token, []string{"Authorization", "Bearer wrong-horse-battery"}, 200, 401},
		{"token, a part of it", token, []string{"Authorization", "Bearer " + token[:10]}, 200, 401},
		{"token, and more", token, []string{"Authorization", "Bearer " + token + "x"}, 200, 401},
		{"token, empty", token, []string{"Authorization", "Bearer "}, 200, 401},
		{"token, no scheme", token, []string{"Authorization", token}, 200, 401},
		{"token, as Basic", token, []string{"Authorization", "Basic " + token}, 200, 401},
		{"token, any host", token, []string{"Authorization", "Bearer " + token, "Host", "edge.example.org"}, 200, 0},
		{"no token, loopback", "", nil, 200, 0},
		{"no token, localhost", "", []string{"Host", "localhost:8081"}, 200, 0},
		{"no token, IPv6", "", []string{"Host", "[::1]:8081"}, 200, 0},
		{"no token, another host", "", []string{"Host", "evil.example"}, 200, 403},
		{"no token, a name that begins right", "", []string{"Host", "127.0.0.1.evil.example:8081"}, 200, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := open(t, newContent(), func(o *admin.Options) { o.Token = tc.token })
			for _, route := range slices.Concat(guarded, free) {
				method, path, _ := strings.Cut(route, " ")
				status, body, header := ask(t, method, d.url+path, nil, tc.header...)
				want := tc.want
				if slices.Contains(free, route) {
					want = tc.free
					if path == "/" && tc.want == 403 {
						want = 403 // the page too: a rebound name gets nothing
					}
				}
				switch {
				case want == 0 && (status == 401 || status == 403):
					t.Errorf("%s: got %d %s", route, status, body)
				case want != 0 && status != want:
					t.Errorf("%s: got %d, want %d", route, status, want)
				case status == 401:
					wantError(t, status, body, 401, "UNAUTHORIZED", "admin.token")
					if header.Get("WWW-Authenticate") == "" {
						t.Errorf("%s: no WWW-Authenticate", route)
					}
				}
				if strings.Contains(body, token) {
					t.Errorf("%s: the answer has the token", route)
				}
			}
		})
	}
}

func TestForeignPagesChangeNothing(t *testing.T) {
	c := newContent()
	d := open(t, c, nil)
	for name, header := range map[string][]string{
		"origin":        {"Origin", "https://evil.example"},
		"opaque origin": {"Origin", "null"},
		"another port":  {"Origin", "http://127.0.0.1:1"},
		"fetch site":    {"Sec-Fetch-Site", "cross-site"},
		"same site":     {"Sec-Fetch-Site", "same-site"},
	} {
		for _, path := range []string{"/api/v1/add", "/api/v1/purge?path=" + someCID.String()} {
			status, body, _ := ask(t, "POST", d.url+path, strings.NewReader("x"), header...)
			if status != 403 {
				t.Errorf("%s, %s: got %d %s", name, path, status, body)
			}
		}
	}
	if len(c.kept) > 0 {
		t.Error("something was imported")
	}
	status, _, _ := ask(t, "POST", d.url+"/api/v1/add", strings.NewReader("x"), "Origin", d.url, "Sec-Fetch-Site", "same-origin")
	if status != 200 {
		t.Errorf("the dashboard's own origin got %d", status)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	c := newContent()
	d := open(t, c, nil)
	if status, body, _ := ask(t, "GET", d.url+"/readyz", nil); status != 200 || body != "ready\n" {
		t.Errorf("ready: %d %q", status, body)
	}
	c.note = "its origins fail"
	if status, body, _ := ask(t, "GET", d.url+"/readyz", nil); status != 200 || body != "ready: its origins fail\n" {
		t.Errorf("ready, with a note: %d %q", status, body)
	}
	c.ready = errors.New("draining")
	status, body, _ := ask(t, "GET", d.url+"/readyz", nil)
	wantError(t, status, body, 503, "UNAVAILABLE", "draining")
	if status, body, _ := ask(t, "GET", d.url+"/healthz", nil, "Host", "10.1.2.3:8081"); status != 200 || body != "ok\n" {
		t.Errorf("health: %d %q", status, body)
	}
}

func TestMetricsStatsAndPage(t *testing.T) {
	c := newContent()
	c.stats = admin.Stats{Name: "edge-0", Version: "v1", Blocks: map[string]admin.Traffic{"origin": {Blocks: 3, Bytes: 4}}, Imports: []string{someCID.String()}}
	d := open(t, c, nil)
	if status, body, _ := ask(t, "GET", d.url+"/metrics", nil); status != 200 || !strings.Contains(body, "shoal_test_total 0") {
		t.Errorf("metrics: %d %s", status, body)
	}
	_, body, _ := ask(t, "GET", d.url+"/api/v1/stats", nil)
	var got admin.Stats
	if err := json.Unmarshal([]byte(body), &got); err != nil || got.Name != "edge-0" || got.Blocks["origin"].Blocks != 3 || got.Imports[0] != someCID.String() {
		t.Errorf("stats: %s, %v", body, err)
	}
	status, body, header := ask(t, "GET", d.url+"/", nil)
	if status != 200 || !strings.HasPrefix(body, "<!doctype html>") || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("page: %d %s", status, header)
	}
	policy := header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Count(policy, "'sha256-") != 2 || strings.Contains(policy, "unsafe") {
		t.Errorf("page: policy %q", policy)
	}
	// The policy would block what comes from elsewhere, and inline handlers and styles.
	if found := regexp.MustCompile(`https?://|src=|\sstyle=|\son[a-z]+=`).FindString(body); found != "" {
		t.Errorf("the page has %q", found)
	}
	// What the edge says goes through read, which escapes.
	if strings.Count(body, "JSON.parse") != 1 || strings.Contains(body, ".json()") || strings.Contains(body, "innerHTML") {
		t.Error("the page shows answers as they come")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	d := open(t, newContent(), nil)
	status, body, _ := ask(t, "GET", d.url+"/nowhere", nil)
	wantError(t, status, body, 404, "NOT_FOUND", "/nowhere")
	status, body, _ = ask(t, "GET", d.url+"/api/v1/add", nil)
	wantError(t, status, body, 405, "METHOD_NOT_ALLOWED", "GET")
	status, body, _ = ask(t, "POST", d.url+"/api/v1/stats", nil)
	wantError(t, status, body, 405, "METHOD_NOT_ALLOWED", "POST")
}

func TestAdd(t *testing.T) {
	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x\"\r\n\r\nhello world\r\n--b--\r\n"
	for _, tc := range []struct {
		kind, media, query, body string
		want                     task.Import
	}{
		{"tar", "application/x-tar", "", "hello world", task.Import{Pin: true}},
		{"tar", "", "?pin=false", "hello world", task.Import{}},
		{"tar", "application/x-www-form-urlencoded", "?wrap=1&name=my%20site", "hello world", task.Import{Pin: true, Wrap: true, Name: "my site"}},
		{"car", "application/vnd.ipld.car; version=1", "?pin=true&progress=false", "hello world", task.Import{Pin: true}},
		{"form", "multipart/form-data; boundary=b", "", form, task.Import{Pin: true}},
	} {
		t.Run(tc.kind+tc.query, func(t *testing.T) {
			c := newContent()
			d := open(t, c, nil)
			status, body, header := ask(t, "POST", d.url+"/api/v1/add"+tc.query, strings.NewReader(tc.body), "Content-Type", tc.media)
			want := fmt.Sprintf(`{"cid":"%s",`, someCID)
			if tc.want.Name != "" {
				want += `"name":"my site",`
			}
			want += fmt.Sprintf(`"pinned":%t,"bytes":11,"blocks":`, tc.want.Pin)
			if status != 200 || !strings.HasPrefix(body, want) || !strings.HasSuffix(body, `"url":"http://localhost:8080/ipfs/`+someCID.String()+"\"}\n") {
				t.Errorf("got %d %s, want %s", status, body, want)
			}
			if header.Get("Content-Type") != "application/x-ndjson" || c.kinds[0] != tc.kind || c.kept[someCID] != tc.want {
				t.Errorf("%s imported as %s with %+v", header, c.kinds, c.kept)
			}
		})
	}
}

func TestAddErrors(t *testing.T) {
	for _, tc := range []struct {
		name, media, query string
		fail               error
		status             int
		reason             problem.Reason
		details            string
	}{
		{"type", "text/html", "", nil, 415, "UNSUPPORTED_TYPE", "application/x-tar"},
		{"unreadable type", "a/b/c;;", "", nil, 415, "UNSUPPORTED_TYPE", "a/b/c"},
		{"form without boundary", "multipart/form-data", "", nil, 400, "BAD_REQUEST", "boundary"},
		{"bad flag", "", "?pin=perhaps", nil, 400, "BAD_REQUEST", "perhaps"},
		{"unknown parameter", "", "?pinn=false", nil, 400, "BAD_REQUEST", "pinn"},
		{"broken query", "", "?pin=%zz", nil, 400, "BAD_REQUEST", "query"},
		{"name that acts", "", "?name=a%0ab", nil, 400, "BAD_REQUEST", "U+000A"},
		{"long name", "", "?name=" + strings.Repeat("n", 256), nil, 400, "BAD_REQUEST", "256 bytes"},
		{"bad content", "", "", fmt.Errorf("import: %w", problem.With("BAD_REQUEST", errors.New("entry twice"))), 400, "BAD_REQUEST", "entry twice"},
		{"full disk", "", "", fmt.Errorf("put: %w", syscall.ENOSPC), 507, "INSUFFICIENT_STORAGE", "no space left"},
		{"full store", "", "", problem.With("INSUFFICIENT_STORAGE", errors.New("pins fill it")), 507, "INSUFFICIENT_STORAGE", "pins fill it"},
		{"anything else", "", "", errors.New("segment 3 is odd"), 500, "INTERNAL_SERVER_ERROR", "segment 3 is odd"},
		{"unknown reason", "", "", problem.With("NEWS", errors.New("news")), 500, "INTERNAL_SERVER_ERROR", "news"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newContent()
			c.fail = tc.fail
			d := open(t, c, nil)
			status, body, header := ask(t, "POST", d.url+"/api/v1/add"+tc.query, strings.NewReader("x"), "Content-Type", tc.media)
			wantError(t, status, body, tc.status, tc.reason, tc.details)
			if header.Get("Content-Type") != "application/json" {
				t.Errorf("type %q", header.Get("Content-Type"))
			}
		})
	}
}

// always makes each call of progress a line.
func always(o *admin.Options) { o.ProgressInterval = time.Nanosecond }

func lines(t *testing.T, body string) []admin.AddLine {
	t.Helper()
	var all []admin.AddLine
	for line := range strings.Lines(body) {
		var l admin.AddLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, l)
	}
	return all
}

func TestProgressLinesComeWhileTheBodyDoes(t *testing.T) {
	d := open(t, newContent(), always)
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", d.url+"/api/v1/add", pr)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() { _, _ = pw.Write([]byte("first")) }()
	res, err := client.Do(req) // returns with the first line, although the body goes on
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `{"progress":{"bytes":`) {
		t.Fatalf("got %q, %v", line, err)
	}
	go func() { _, _ = pw.Write([]byte(" second")); _ = pw.Close() }()
	rest, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	all := lines(t, string(rest))
	if last := all[len(all)-1]; last.AddResult == nil || last.Bytes != 12 {
		t.Errorf("last line of %s", rest)
	}
}

func TestErrorAfterTheFirstLineIsTheLastLine(t *testing.T) {
	c := newContent()
	c.fail = problem.With("BAD_REQUEST", errors.New("block 7 is wrong"))
	d := open(t, c, always)
	status, body, _ := ask(t, "POST", d.url+"/api/v1/add", bytes.NewReader(make([]byte, 1<<20)))
	all := lines(t, body)
	last := all[len(all)-1]
	if status != 200 || len(all) < 2 || last.Error == nil || *last.Error != (problem.Body{Reason: "BAD_REQUEST", Details: "block 7 is wrong"}) {
		t.Errorf("got %d and %d lines, the last %+v", status, len(all), last)
	}
}

func TestSeveralRootsAreListed(t *testing.T) {
	c := newContent()
	c.roots = 2
	_, body, _ := ask(t, "POST", open(t, c, nil).url+"/api/v1/add", strings.NewReader("hello world"))
	if got := lines(t, body)[0]; len(got.Roots) != 2 {
		t.Errorf("got %s", body)
	}
}

func TestImportsAreBounded(t *testing.T) {
	c := newContent()
	c.gate, c.waits = make(chan struct{}), make(chan struct{}, 2)
	d := open(t, c, func(o *admin.Options) { o.MaxImports = 2 })
	done := make(chan int, 2)
	for range 2 {
		go func() {
			res, err := http.Post(d.url+"/api/v1/add", "", strings.NewReader("x"))
			if err != nil {
				done <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			done <- res.StatusCode
		}()
	}
	<-c.waits
	<-c.waits
	status, body, header := ask(t, "POST", d.url+"/api/v1/add", strings.NewReader("x"))
	wantError(t, status, body, 429, "TOO_MANY_REQUESTS", "2 imports")
	if header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(c.gate)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("got %d", status)
		}
	}
	c.gate = nil
	if status, body, _ := ask(t, "POST", d.url+"/api/v1/add", strings.NewReader("x")); status != 200 {
		t.Errorf("afterwards: %d %s", status, body)
	}
	http.DefaultClient.CloseIdleConnections()
}

// raw sends bytes as they are and returns the first line of the answer.
func raw(t *testing.T, d *door, text string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func TestStalledSenderIsCutOff(t *testing.T) {
	d := open(t, newContent(), func(o *admin.Options) { o.StallTimeout = 50 * time.Millisecond })
	_, in := raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this")
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	wantError(t, res.StatusCode, string(body), 408, "REQUEST_TIMEOUT", "nothing was sent for 50ms")
}

func TestCutOffBodyFails(t *testing.T) {
	c := newContent()
	c.waits, c.gate = make(chan struct{}, 1), make(chan struct{})
	d := open(t, c, nil)
	conn, in := raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this")
	<-c.waits
	_ = conn.(*net.TCPConn).CloseWrite()
	close(c.gate)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return // the server need not answer a connection that ended
	}
	defer res.Body.Close()
	if res.StatusCode == 200 {
		t.Error("half a body was imported")
	}
}

func TestExpectContinue(t *testing.T) {
	d := open(t, newContent(), nil)
	conn, in := raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")
	line, err := in.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "hello world")
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("got %v, %v", res, err)
	}
	_ = res.Body.Close()

	// Refused before the body is sent.
	d = open(t, newContent(), func(o *admin.Options) { o.Token = token })
	_, in = raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 401") {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestPurge(t *testing.T) {
	c := newContent()
	var gotPath string
	var gotUnpin bool
	c.forget = func(path string, unpin bool) (task.PurgeResult, error) {
		gotPath, gotUnpin = path, unpin
		return task.PurgeResult{CID: someCID.String(), Purged: task.Purged{Removed: 3, Bytes: 4, Kept: 5}}, nil
	}
	d := open(t, c, nil)
	status, body, _ := ask(t, "POST", d.url+"/api/v1/purge?unpin=true&path=/ipfs/"+someCID.String()+"/a%20b", nil)
	if want := fmt.Sprintf(`{"cid":"%s","removed":3,"bytes":4,"kept":5}`+"\n", someCID); status != 200 || body != want {
		t.Errorf("got %d %s, want %s", status, body, want)
	}
	if gotPath != "/ipfs/"+someCID.String()+"/a b" || !gotUnpin {
		t.Errorf("asked for %q, unpin %t", gotPath, gotUnpin)
	}
	c.forget = func(string, bool) (task.PurgeResult, error) {
		return task.PurgeResult{}, problem.With("PINNED", errors.New("use unpin=true"))
	}
	status, body, _ = ask(t, "POST", d.url+"/api/v1/purge?path=x", nil)
	wantError(t, status, body, 409, "PINNED", "unpin=true")
	c.forget = nil
	status, body, _ = ask(t, "POST", d.url+"/api/v1/purge?path=x", nil)
	wantError(t, status, body, 404, "NOT_FOUND", "x is not on this edge")
	for _, q := range []string{"", "?path=", "?path=x&unpin=2", "?path=x&force=true"} {
		status, body, _ = ask(t, "POST", d.url+"/api/v1/purge"+q, nil)
		wantError(t, status, body, 400, "BAD_REQUEST", "")
	}
	c.forget = func(string, bool) (task.PurgeResult, error) { panic("secret detail") }
	status, body, _ = ask(t, "POST", d.url+"/api/v1/purge?path=x", nil)
	wantError(t, status, body, 500, "INTERNAL_SERVER_ERROR", "the log")
	if strings.Contains(body, "secret") {
		t.Error("the panic's text is in the answer")
	}
}

func TestDrainLetsAnImportFinish(t *testing.T) {
	c := newContent()
	c.gate, c.waits = make(chan struct{}), make(chan struct{}, 1)
	d := open(t, c, nil)
	status := make(chan int, 1)
	go func() {
		s, _, _ := ask(t, "POST", d.url+"/api/v1/add", strings.NewReader("hello world"))
		status <- s
	}()
	<-c.waits
	stopped := make(chan error, 1)
	go func() { stopped <- d.stop() }()
	waitRefused(t, d)
	close(c.gate)
	if s := <-status; s != 200 {
		t.Errorf("the import got %d", s)
	}
	if err := <-stopped; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// RFC 9112, section 9.6: the last answer of a connection says so.
func TestALameDuckEndsConnections(t *testing.T) {
	for _, path := range []string{"/healthz", "/readyz", "/", "/metrics", "/api/v1/stats", "/api/v1/nothing", "/pins"} {
		get := "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
		receive := func(in *bufio.Reader) bool {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			return res.Close
		}
		d := open(t, newContent(), nil)
		conn, in := raw(t, d, get)
		if receive(in) {
			t.Errorf("%s: the connection ends without need", path)
		}
		d.LameDuck()
		if _, err := io.WriteString(conn, get); err != nil {
			t.Fatal(err)
		}
		if !receive(in) {
			t.Errorf("%s: the answer does not say that it is the last", path)
		}
		if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
			t.Errorf("%s: %d bytes more, %v", path, len(rest), err)
		}
	}
}

func TestDrainTimeoutCancelsAnImport(t *testing.T) {
	c := newContent()
	c.gate, c.waits = make(chan struct{}), make(chan struct{}, 1)
	d := open(t, c, func(o *admin.Options) { o.DrainTimeout = 20 * time.Millisecond })
	_, in := raw(t, d, "POST /api/v1/add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nonly this")
	<-c.waits
	if err := d.stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	// goleak proves that the handler ended; the sender sees the end.
	_, _ = io.Copy(io.Discard, in)
	if len(c.kept) > 0 {
		t.Error("it was imported")
	}
}

// waitRefused returns once the door accepts no connection any more.
func waitRefused(t *testing.T, d *door) {
	t.Helper()
	for t.Context().Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}
