package cli_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/printable"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// nasty is a name that clears a screen, rings, ends a line, sets a colour in one character
// and turns what follows around.
const nasty = "a\x1b[2J\x07\nb\u009b31m\u202ec"

// hostile answers as an edge whose siblings, pins and reasons all have such names.
func hostile(w http.ResponseWriter, r *http.Request) {
	pin := admin.Pin{
		ID: nasty, CID: nasty, Name: nasty, Owner: nasty, Status: nasty, Created: time.Unix(1, 0),
		Info: map[string]string{"replicas": nasty, "edges": nasty, "reason": nasty}, Meta: map[string]string{nasty: nasty},
		Edges: []record.EdgeShare{{Edge: nasty, Present: true, Share: record.Share{Status: nasty, Reason: nasty}}},
	}
	out := json.NewEncoder(w)
	switch path := r.URL.Path; {
	case path == "/api/v1/pins":
		count := 2
		out.Encode(admin.PinLine{Pin: &pin})
		out.Encode(admin.PinLine{Count: &count})
	case strings.HasSuffix(path, "/verify"):
		out.Encode(admin.PinLine{Verified: []record.EdgeCheck{{Edge: nasty, Check: record.Check{Blocks: 1}}, {Edge: nasty, Error: nasty}}})
	case strings.HasPrefix(path, "/api/v1/pins/"):
		out.Encode(admin.PinsResult{Pins: []admin.Pin{pin}})
	case path == "/api/v1/swarm":
		out.Encode(admin.MembersResult{Members: []member.Member{{Name: nasty, Peer: nasty, Zone: nasty, Addr: nasty, State: nasty, Detail: nasty}}})
	case path == "/api/v1/swarm/where":
		out.Encode(member.Whereabouts{CID: nasty, Homes: []string{nasty}, Holders: []string{nasty}})
	case path == "/api/v1/purge" && r.URL.Query().Get("path") == "fails":
		w.WriteHeader(http.StatusNotFound)
		out.Encode(problem.Answer{Error: problem.Body{Reason: problem.NotFound, Details: nasty}})
	case path == "/api/v1/purge":
		out.Encode(task.PurgeResult{CID: nasty, Fleet: []task.SiblingPurge{{Edge: nasty}, {Edge: nasty, Error: nasty}}})
	case path == "/api/v1/add":
		out.Encode(admin.AddLine{AddResult: &admin.AddResult{CID: nasty, Name: nasty, URL: nasty, Pinned: true, Pins: []string{nasty}}})
	case path == "/api/v1/reload":
		out.Encode(task.Reloaded{Changed: []task.Change{{Key: nasty, From: nasty, To: nasty}}})
	}
}

func TestNamesOfOthersDoNothingToATerminal(t *testing.T) {
	edge := httptest.NewServer(http.HandlerFunc(hostile))
	defer edge.Close()
	file := filepath.Join(t.TempDir(), nasty)
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"pin ls", "pin status x", "pin status x --verify", "pin rm x", "pin add x", "pin add x --no-wait",
		"swarm members", "swarm where bafkqaaa", "purge x", "purge fails", "reload", "add FILE", "add FILE.car", "add FILE --quiet",
	} {
		for _, flag := range []string{"", "--json"} {
			args := append(strings.Fields(command), "--edge", edge.URL)
			for i := range args {
				args[i] = strings.Replace(args[i], "FILE", file, 1)
			}
			if flag != "" {
				args = append(args, flag)
			}
			_, out, err := shoal(t, nil, args...)
			if out+err == "" {
				t.Errorf("%s %s prints nothing", command, flag)
			}
			for line := range strings.Lines(out + err) {
				if bad := printable.Check(strings.TrimSuffix(line, "\n")); bad != nil {
					t.Errorf("%s %s: %v", command, flag, bad)
				}
				if strings.HasPrefix(line, "b") {
					t.Errorf("%s %s: a name has made a line of its own: %q", command, flag, line)
				}
			}
		}
	}
}

// TestAllIsPrintedInOneWay looks for output that goes past print.go.
func TestAllIsPrintedInOneWay(t *testing.T) {
	past := regexp.MustCompile(`fmt\.F?[Pp]rint(f|ln)?\(|json\.NewEncoder|\bprintln\(`)
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if file == "print.go" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if at := past.Find(source); at != nil {
			t.Errorf("%s prints with %s", file, at)
		}
	}
}
