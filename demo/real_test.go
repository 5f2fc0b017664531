package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoal-cdn/shoal/cli"
	"github.com/shoal-cdn/shoal/demo"
)

func TestCommandWithWrongArguments(t *testing.T) {
	for _, args := range [][]string{
		{"--edges", "33"}, {"--edges", "0"}, {"--edges", "1", "--visitors", "-1"}, {"--requests", "0"}, {"a", "b"},
		{"--visitors", "5"}, {"--edges", "1", "--requests", "5"}, {"--edges", "1", "--chart", "x.html"},
	} {
		var out, errs bytes.Buffer
		if code := cli.Run(t.Context(), append([]string{"demo"}, args...), cli.Environment{Out: &out, Err: &errs}); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, &errs)
		}
	}
}

// The whole demo, as the command line runs it, with the real edge; and what a visitor
// finds on the one that --keep leaves running, whichever way in.
func TestCommand(t *testing.T) {
	t.Parallel() // it takes its time: its visitors do
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		code := cli.Run(ctx, []string{"demo", "--edges", "1", "--json", "--visitors", "12", "--keep"}, cli.Environment{Out: w, Err: &errs})
		w.Close()
		done <- code
	}()
	var events bytes.Buffer
	at := waitUntilKept(t, io.TeeReader(r, &events))
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, r)
	}()
	checkStory(t, results(t, &events))
	checkSite(t, at)
	cancel()
	if code := <-done; code != 0 || errs.Len() > 0 {
		t.Errorf("exit code %d: %s", code, &errs)
	}
	<-drained
}

// checkSite visits the site by its name, by its CID's own host and by path.
func checkSite(t *testing.T, at demo.Serving) {
	t.Helper()
	file := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("site", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	site, _ := url.Parse(at.Site)
	transport := &http.Transport{DisableKeepAlives: true}
	for _, base := range []string{at.Site, at.CID, "http://localhost:" + site.Port() + "/ipfs/" + at.Content + "/"} {
		byPath := base != at.Site && base != at.CID
		for _, tc := range []struct {
			path     string
			status   int
			location string
			body     []byte
		}{
			{"", 200, "", file("index.html")},
			{"notes/2024/november/three-shapes/mill.webp", 200, "", file("notes/2024/november/three-shapes/mill.webp")},
			{"station", 301, "station/", nil},
			{"about", 301, "/station/", nil},
			{"visit", 302, "/station/#visiting", nil},
			{"blog/2025/june/the-fountain", 301, "/notes/2025/june/the-fountain/", nil},
			{"recordings/north-sound.mp3", 302, "/notes/2025/october/dusk-chorus/recording/north-sound.mp3", nil},
			{"data/soundings-2023.json", 410, "", file("data/withdrawn.html")},
			{"no/such/page", 404, "", file("404.html")},
		} {
			if byPath && tc.status != 200 {
				continue // localhost sends browsers to the subdomain, and redirects need an origin of their own
			}
			req, _ := http.NewRequest(http.MethodGet, base+tc.path, nil)
			u := *req.URL
			req.Host, req.URL.Host = u.Host, "127.0.0.1:"+site.Port()
			res, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if byPath {
				if res.StatusCode != http.StatusMovedPermanently {
					t.Errorf("%s: %s", &u, res.Status)
				}
				continue
			}
			location, _ := url.Parse(res.Header.Get("Location"))
			if got := location.RequestURI(); tc.location != "" && location.Fragment == "" && got != tc.location && got != "/"+tc.location {
				t.Errorf("%s: leads to %q, want %q", &u, location, tc.location)
			}
			if res.StatusCode != tc.status || tc.body != nil && !bytes.Equal(body, tc.body) {
				t.Errorf("%s: %s with %d bytes, want %d with %d", &u, res.Status, len(body), tc.status, len(tc.body))
			}
		}
	}
}

// waitUntilKept reads events up to the one that says where the kept edge is, and
// leaves the rest to the caller.
func waitUntilKept(t *testing.T, r io.Reader) demo.Serving {
	t.Helper()
	finished := false
	lines := bufio.NewReaderSize(r, 1<<16)
	for {
		l, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatalf("the demo ended: %v", err)
		}
		var e struct {
			Event string
			Data  json.RawMessage
		}
		if err := json.Unmarshal(l, &e); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		finished = finished || e.Event == "result"
		if finished && e.Event == "serving" {
			var at demo.Serving
			if err := json.Unmarshal(e.Data, &at); err != nil {
				t.Fatal(err)
			}
			return at
		}
	}
}
