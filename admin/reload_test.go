package admin_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

func TestReload(t *testing.T) {
	c := newContent()
	c.reloaded = task.Reloaded{
		Changed:      []task.Change{{Key: "sites", Added: []string{"{host: a.example.org, content: dnslink}"}}},
		NeedsRestart: []task.Change{{Key: "data", From: "./data", To: "/data"}},
	}
	d := open(t, c, nil)
	status, body, _ := ask(t, http.MethodPost, d.url+"/api/v1/reload", nil)
	want := `{"changed":[{"key":"sites","added":["{host: a.example.org, content: dnslink}"]}],"needs_restart":[{"key":"data","from":"./data","to":"/data"}]}`
	if status != http.StatusOK || strings.TrimSpace(body) != want {
		t.Errorf("got %d %s", status, body)
	}
	c.fail = problem.With(problem.Invalid, errors.New("config.yaml:3: sites[0].hst: unknown setting"))
	status, body, _ = ask(t, http.MethodPost, d.url+"/api/v1/reload", nil)
	wantError(t, status, body, http.StatusUnprocessableEntity, problem.Invalid, "sites[0].hst")
	status, body, _ = ask(t, http.MethodPost, d.url+"/api/v1/reload?force=true", nil)
	wantError(t, status, body, http.StatusBadRequest, problem.BadRequest, "force")
	status, body, _ = ask(t, http.MethodGet, d.url+"/api/v1/reload", nil)
	wantError(t, status, body, http.StatusMethodNotAllowed, problem.MethodNotAllowed, "GET")
}

// prepare puts options with another token in force.
func prepare(t *testing.T, a *admin.Admin, token string) {
	t.Helper()
	opts := admin.DefaultOptions()
	opts.Token = token
	apply, err := a.Prepare(opts)
	if err != nil {
		t.Fatal(err)
	}
	apply()
}

func TestTheTokenChanges(t *testing.T) {
	d := open(t, newContent(), func(o *admin.Options) { o.Token = "one" })
	stats := func(want int, header ...string) {
		t.Helper()
		if status, body, _ := ask(t, http.MethodGet, d.url+"/api/v1/stats", nil, header...); status != want {
			t.Errorf("%v: got %d %s, want %d", header, status, body, want)
		}
	}
	stats(200, "Authorization", "Bearer one")
	prepare(t, d.Admin, "two")
	stats(401, "Authorization", "Bearer one")
	stats(200, "Authorization", "Bearer two")
	prepare(t, d.Admin, "")
	stats(200)
	stats(403, "Host", "rebound.example.org")
	prepare(t, d.Admin, "three")
	stats(401)
	stats(200, "Authorization", "Bearer three", "Host", "edge.example.org")
}

func TestATokenThatCannotBeIsRefused(t *testing.T) {
	d := open(t, newContent(), func(o *admin.Options) { o.Token = "one" })
	for want, change := range map[string]func(*admin.Options){
		"admin.token":  func(o *admin.Options) { o.Token = "a b" },
		"admin.listen": func(o *admin.Options) { o.Listen, o.Token = "0.0.0.0:8081", "" },
	} {
		opts := admin.DefaultOptions()
		change(&opts)
		if _, err := d.Prepare(opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Whoever asks while the token changes has the old one or the new one; nobody comes
// in without.
func TestTheTokenChangesUnderLoad(t *testing.T) {
	d := open(t, newContent(), func(o *admin.Options) { o.Token = "one" })
	var crowd sync.WaitGroup
	for range 4 {
		crowd.Go(func() {
			for range 20 {
				if status, _, _ := ask(t, http.MethodGet, d.url+"/api/v1/stats", nil); status != http.StatusUnauthorized {
					t.Errorf("without a token: %d", status)
				}
			}
		})
	}
	for i := range 50 {
		prepare(t, d.Admin, []string{"one", "two"}[i%2])
	}
	crowd.Wait()
}
