package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/config"
)

// stranger sends requests as nobody's browser does, with a mark in everything that a
// client chooses, and reads the answers to their ends.
func stranger(t *testing.T, e *running, root, mark string) {
	t.Helper()
	for _, addr := range []string{e.GatewayAddr().String(), e.AdminAddr().String()} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PURGE", "X" + mark} {
			for _, host := range []string{"www.example.org", "127.0.0.1", mark + ".example.org", root + ".ipfs.localhost", mark + ".ipfs.localhost", mark} {
				for _, target := range []string{"/index.html", "/" + mark, "/ipfs/" + root + "/" + mark, "/ipfs/" + mark, "/ipns/" + mark, "/?format=" + mark, "http://" + mark + "/", "*"} {
					send(t, addr, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: %s\r\nX-Forwarded-Host: %s\r\nReferer: http://%s/\r\nConnection: close\r\n\r\n",
						method, target, host, mark, mark, mark, mark))
				}
			}
		}
	}
}

func send(t *testing.T, addr, request string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return // it was refused before it was read, which is an answer
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
}

// series returns the names and labels of all series there are.
func (r *running) series() map[string]bool {
	r.t.Helper()
	r.settled()
	found := map[string]bool{}
	for line := range strings.Lines(r.scrape()) {
		if !strings.HasPrefix(line, "#") {
			found[line[:strings.LastIndexByte(line, ' ')]] = true
		}
	}
	return found
}

// Nobody from outside can add series to the metrics: what visitors choose is in no
// label, and the labels there are have few values.
func TestStrangersAddNoSeries(t *testing.T) {
	cfg := settings(t)
	cfg.Admin.Token = "new"
	e := run(t, cfg)
	root := e.addWith("new", pages)
	e.stop()
	cfg.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	e = run(t, cfg)

	stranger(t, e, root, "one")
	before := e.series()
	for i := range 3 {
		stranger(t, e, root, fmt.Sprintf("mark%d", i))
	}
	after := e.series()
	for s := range after {
		if !before[s] && !strings.HasPrefix(s, "go_") {
			t.Errorf("a new series: %s", s)
		}
		if strings.Contains(s, "mark") || strings.Contains(s, "one.") || strings.Contains(s, root) {
			t.Errorf("a label that a visitor chose: %s", s)
		}
	}
	if len(after) > 1500 {
		t.Errorf("%d series", len(after))
	}
	t.Logf("%d series", len(after))
}

// What dashboards and alerts are made of is there from the start, before the first
// request.
func TestCollectors(t *testing.T) {
	e := run(t, settings(t))
	text := e.scrape()
	for _, name := range []string{
		"go_goroutines", "go_memstats_heap_alloc_bytes", "process_resident_memory_bytes", "process_open_fds", "libp2p_rcmgr_connections",
		"shoal_build_info", "shoal_config_last_reload_successful", "shoal_config_last_reload_success_timestamp_seconds",
		"shoal_http_requests_in_flight", "shoal_blocks_total", "shoal_block_bytes_total",
		"shoal_swarm_members", "shoal_swarm_fills_total", "shoal_swarm_served_bytes_total",
		"shoal_store_bytes", "shoal_store_capacity_bytes", "shoal_store_evicted_bytes_total", "shoal_cache_bytes", "shoal_cache_capacity_bytes",
	} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("%s is not there", name)
		}
	}
}

// The profiles are there for the operator, and for nobody else.
func TestProfiles(t *testing.T) {
	cfg := settings(t)
	cfg.Admin.Token = "new"
	e := run(t, cfg)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
		for token, want := range map[string]int{"new": http.StatusOK, "old": http.StatusUnauthorized, "": http.StatusUnauthorized} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.AdminAddr().String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s with token %q: %s", path, token, res.Status)
			}
		}
	}
}
