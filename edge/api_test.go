package edge_test

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/edge"
)

var update = flag.Bool("update", false, "write what the admin API answers to testdata")

// What differs from run to run, and what stands for it in testdata/api.txt.
var varying = []struct {
	is    *regexp.Regexp
	stand string
}{
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+Z"`), `"TIME"`},
	{regexp.MustCompile(`"\d{4}-\d\d-\d\dT[0-9:.]+[+-]\d\d:\d\d"`), `"TIME"`},
	{regexp.MustCompile(`\b[A-Z2-7]{26}\b`), "ID"},
	{regexp.MustCompile(`12D3Koo\w+`), "PEER"},
	{regexp.MustCompile(`(127\.0\.0\.1|localhost)(:|/tcp/)\d+`), "$1${2}PORT"},
	{regexp.MustCompile(`(?:\{"progress":\{"edge":"[^"]+","blocks":\d+,"bytes":\d+\}\}\n)+`), `{"progress":{"edge":"EDGE","blocks":N,"bytes":N}}` + "\n"},
	{regexp.MustCompile(`_seconds":[0-9.e-]+`), `_seconds":N`},
}

func stable(text string) string {
	for _, v := range varying {
		text = v.is.ReplaceAllString(text, v.stand)
	}
	return text
}

// transcript asks an edge and writes down what it answers.
type transcript struct {
	strings.Builder
	e *running
}

func (t *transcript) ask(method, path string, body io.Reader) string {
	t.e.t.Helper()
	req, err := http.NewRequestWithContext(t.e.t.Context(), method, "http://"+t.e.AdminAddr().String()+path, body)
	if err != nil {
		t.e.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.e.t.Fatal(err)
	}
	fmt.Fprintf(t, "%s %s\n%d %s\n%s\n", method, stable(path), res.StatusCode, res.Header.Get("Content-Type"), stable(string(text)))
	return string(text)
}

// found returns what the group of an expression matches.
func found(expression, text string) string {
	if m := regexp.MustCompile(expression).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

func tarOf(name, text string) io.Reader {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(text))})
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return &archive
}

// Other people's programs read these answers: they stay as they are, to the byte.
func TestAnswersOfTheAdminAPI(t *testing.T) {
	origin := run(t, settings(t))
	var src source
	edges := fleet(t, 2, origin, func(c *config.Config) {
		c.Pin.Replicas = 2
		src.next = *c
	})
	e := edges[0]
	e.stop()
	cfg := src.next
	cfg.Name, cfg.Data = "edge-0", t.TempDir()
	cfg.Swarm.Peers = []string{"edge-1@" + edges[1].swarmAddr()}
	src.next = cfg
	e = runAs(t, cfg, edge.Build{Version: "test", Log: slog.New(slog.DiscardHandler), Load: src.load})
	waitForFleet(t, []*running{e, edges[1]}, 2)

	s := &transcript{e: e}
	root := found(`"cid":"(\w+)"`, s.ask("POST", "/api/v1/add?name=%3Ca%26b%3E&wrap=true&progress=false", tarOf("index.html", "<h1>home</h1>")))
	if root == "" {
		t.Fatal(s.String())
	}
	pinned := e.pinStatusOf(root)
	until(t, "both edges hold it", func() bool { pinned = e.pinStatusOf(root); return pinned != nil && len(whole(*pinned)) == 2 })
	until(t, "the import has ended", func() bool { return len(e.Stats().Imports) == 0 })
	s.ask("GET", "/api/v1/pins/"+pinned.ID, nil)
	s.ask("GET", "/api/v1/pins/"+pinned.ID+"?wait=true", nil)
	s.ask("GET", "/api/v1/pins?status=pinned&match=partial&name=a", nil)
	s.ask("POST", "/api/v1/pins/"+pinned.ID+"/verify", nil)
	answer := (&transcript{e: e}).ask("POST", "/api/v1/pins?path=/ipfs/"+root+"/index.html&name=page&replicas=1", nil)
	page := found(`"cid":"(\w+)"`, answer)
	if page == "" {
		t.Fatal(answer)
	}
	until(t, "the page is pinned", func() bool { return e.pinStatusOf(page).Status == "pinned" })
	s.ask("GET", "/api/v1/pins?name=page", nil)
	s.ask("GET", "/api/v1/pins?limit=1&cid="+root, nil)
	s.ask("GET", "/api/v1/swarm", nil)
	s.ask("GET", "/api/v1/swarm/where?cid="+root, nil)
	s.ask("GET", "/readyz", nil)
	numbers := regexp.MustCompile(`:\d+`)
	stats := &transcript{e: e}
	stats.ask("GET", "/api/v1/stats", nil)
	s.WriteString(numbers.ReplaceAllString(stats.String(), ":N"))

	s.ask("POST", "/api/v1/purge?path="+root, nil)
	s.ask("DELETE", "/api/v1/pins/"+page, nil)
	until(t, "the page is let go", func() bool { return len(e.Held()) == 1 })
	s.ask("POST", "/api/v1/purge?unpin=true&fleet=true&path="+root, nil)
	s.ask("POST", "/api/v1/purge?path="+root, nil)
	s.ask("POST", "/api/v1/purge?path=nothing", nil)
	s.ask("GET", "/api/v1/pins/"+pinned.ID, nil)
	s.ask("DELETE", "/api/v1/pins/"+pinned.ID, nil)
	s.ask("POST", "/api/v1/pins?path=/ipns/", nil)
	s.ask("POST", "/api/v1/pins?path="+root+"/no", nil)
	s.ask("GET", "/api/v1/swarm/where?cid=x", nil)
	s.ask("POST", "/api/v1/add", strings.NewReader("no archive"))

	src.set(func(c *config.Config) {
		c.Pin.GiveUp *= 2
		c.Sites = []config.Site{{Host: "www.example.org", Content: "/ipfs/" + root}}
	})
	s.ask("POST", "/api/v1/reload", nil)
	src.set(func(c *config.Config) { c.Sites[0].Content = "/ipfs/nothing" })
	s.ask("POST", "/api/v1/reload", nil)

	const file = "testdata/api.txt"
	if *update {
		if err := os.WriteFile(file, []byte(s.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String(); got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
