package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

// judged is an edge of a fleet without an origin: it answers some requests and says who
// has which block.
type judged struct {
	site, admin *httptest.Server
	asked       atomic.Int64
}

func (j *judged) GatewayAddr() string { return strings.TrimPrefix(j.site.URL, "http://") }
func (j *judged) AdminAddr() string   { return strings.TrimPrefix(j.admin.URL, "http://") }
func (j *judged) SwarmAddr() string   { return "" }
func (j *judged) Stop(context.Context) error {
	return nil
}

// newJudged returns an edge that refuses the first requests; fewer than 0: all.
func newJudged(t *testing.T, refusing int64, where map[string][]string) *judged {
	j := &judged{}
	j.site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := j.asked.Add(1); refusing < 0 || n <= refusing {
			http.Error(w, fmt.Sprintf("refusal %d", n), http.StatusBadGateway)
			return
		}
		w.Header().Set("X-Ipfs-Roots", "root,folder")
		w.Header().Set("ETag", `"leaf"`)
		_, _ = w.Write([]byte("herring"))
	}))
	t.Cleanup(j.site.Close)
	j.admin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string][]string{"holders": where[r.URL.Query().Get("cid")]})
	}))
	t.Cleanup(j.admin.Close)
	return j
}

func TestJudge(t *testing.T) {
	everywhere := map[string][]string{"root": {"edge-1", "edge-2"}, "folder": {"edge-1"}, "leaf": {"edge-1", "edge-2"}}
	for name, tc := range map[string]struct {
		refusing [3]int64
		where    map[string][]string
		known    []string
		length   int64
		want     FaultResult
		failure  string
		asked    [3]int64
	}{
		"at the second attempt, where the first was refused": {
			[3]int64{-1, 1, -1}, everywhere, []string{"root", "folder", "leaf"}, 7,
			FaultResult{Served: 3, Again: 3}, "", [3]int64{0, 2, 0}},
		"another edge answers": {
			[3]int64{0, -1, -1}, nil, nil, 7,
			FaultResult{Failed: 3}, "GET /a from edge-2: 502 Bad Gateway: refusal 2, though edge-1 has it", [3]int64{1, 2, 1}},
		"two others answer": {
			[3]int64{0, -1, 0}, nil, nil, 7,
			FaultResult{Failed: 3}, "refusal 2, though edge-1 and edge-3 have it", [3]int64{1, 2, 1}},
		"no edge answers, though all blocks are there": {
			[3]int64{-1, -1, -1}, everywhere, []string{"root", "folder", "leaf"}, 7,
			FaultResult{Failed: 3}, "from edge-2: 502 Bad Gateway: refusal 2, though edge-1 and edge-2 have it", [3]int64{1, 2, 1}},
		"the folder is nowhere": {
			[3]int64{-1, -1, -1}, map[string][]string{"root": {"edge-1"}, "leaf": {"edge-1"}}, []string{"root", "folder", "leaf"}, 7,
			FaultResult{NotHeld: 3}, "", [3]int64{1, 2, 1}},
		"never served": {
			[3]int64{-1, -1, -1}, everywhere, nil, 7,
			FaultResult{NotHeld: 3}, "", [3]int64{1, 2, 1}},
		"of many blocks": {
			[3]int64{-1, -1, -1}, everywhere, []string{"root", "leaf"}, 2 * chunk,
			FaultResult{NotHeld: 3}, "", [3]int64{1, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits for the second attempt
			f := &fleet{show: &show{
				Options: Options{Clients: 2}, client: &http.Client{Transport: &http.Transport{}},
				content: treeOf(t, fstest.MapFS{"a": {Data: []byte("herring")}}),
			}}
			defer f.client.CloseIdleConnections()
			var edges []*judged
			for i, n := range tc.refusing {
				e := newJudged(t, n, tc.where)
				edges = append(edges, e)
				f.edges = append(f.edges, &node{spec: EdgeSpec{Name: fmt.Sprintf("edge-%d", i+1)}, Edge: e, addr: e.GatewayAddr()})
			}
			if tc.known != nil {
				f.known.Store("a", tc.known)
			}
			what := request{file: "a", length: tc.length}
			q := f.newQueue([]request{what})
			first := q.ask(t.Context(), 1, what)
			if first.err == nil {
				t.Fatal("edge-2 did not refuse")
			}
			var got FaultResult
			if err := f.judge(t.Context(), q, &got, map[refusal]int{{what, 1}: 3}); err != nil {
				t.Fatal(err)
			}
			if tc.want.Requests = 3; got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if said := fmt.Sprint(f.failure); tc.failure == "" && f.failure != nil || !strings.Contains(said, tc.failure) {
				t.Errorf("said %q, want %q", said, tc.failure)
			}
			for i, e := range edges {
				if n := e.asked.Load(); n != tc.asked[i] {
					t.Errorf("edge-%d was asked %d times, want %d", i+1, n, tc.asked[i])
				}
			}
		})
	}
}

func TestHave(t *testing.T) {
	for want, names := range map[string][]string{"a has": {"a"}, "a and b have": {"a", "b"}, "a, b and c have": {"a", "b", "c"}} {
		if got := have(names); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBlocksOfAnAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		roots, etag string
		want        []string
	}{
		"a file":       {"root,folder,leaf", `"leaf"`, []string{"root", "folder", "leaf"}},
		"an index":     {"root,folder", `"index"`, []string{"root", "folder", "index"}},
		"without both": {"", "", nil},
	} {
		h := http.Header{}
		h.Set("X-Ipfs-Roots", tc.roots)
		h.Set("ETag", tc.etag)
		if got := pathOf(h); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
