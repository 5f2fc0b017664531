package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestReloadTakesOverWhatIsLive(t *testing.T) {
	running := Default()
	next := Default()
	next.Data = "/elsewhere"
	next.Swarm.Secret = "other"
	next.Log = Log{Level: "debug", Format: "json"}
	next.Gateway.MaxRequests = 7
	next.Gateway.Listen = ":9090"
	next.Cache = Cache{Memory: 1 << 30, Disk: 1 << 40}
	next.Sites = []Site{{"www.example.org", "dnslink"}}
	next.Origins = []Origin{{Type: "gateway", URL: "https://me:hush@gateway.example", Token: "hush"}}
	next.Admin.Token = "hush"

	got, changes := Reload(&running, &next)
	want := next
	want.Data, want.Gateway.Listen, want.Swarm, want.Cache.Disk, want.Log.Format = running.Data, running.Gateway.Listen, running.Swarm, running.Cache.Disk, running.Log.Format
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	var lines []string
	for _, c := range changes.NeedsRestart {
		lines = append(lines, "restart "+c.String())
	}
	for _, c := range changes.Changed {
		lines = append(lines, "live "+c.String())
	}
	wantLines := []string{
		"restart data: ./data -> /elsewhere",
		"restart gateway.listen: :8080 -> :9090",
		"restart cache.disk: 10GiB -> 1TiB",
		`restart swarm.secret: "" -> ********`,
		"restart log.format: text -> json",
		"live gateway.max_requests: 4096 -> 7",
		"live sites: +{host: www.example.org, content: dnslink}",
		"live cache.memory: 256MiB -> 1GiB",
		"live origins: +{type: gateway, url: https://me:xxxxx@gateway.example, token: ********}",
		`live admin.token: "" -> ********`,
		"live log.level: info -> debug",
	}
	if !reflect.DeepEqual(lines, wantLines) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(wantLines, "\n"))
	}
	if strings.Contains(strings.Join(lines, "\n"), "hush") {
		t.Error("a secret is shown")
	}
}

func TestReloadOfTheSame(t *testing.T) {
	running, next := Default(), Default()
	next.Sites, next.Gateway.TrustedProxies = []Site{}, []string{}
	if _, changes := Reload(&running, &next); len(changes.Changed)+len(changes.NeedsRestart) != 0 {
		t.Errorf("changes: %v", changes)
	}
}

func TestReloadOfLists(t *testing.T) {
	a, b, c := Site{"a.example.org", "/ipfs/x"}, Site{"b.example.org", "/ipfs/x"}, Site{"b.example.org", "/ipfs/y, z"}
	for name, tc := range map[string]struct {
		from, to []Site
		want     string
	}{
		"moved":   {[]Site{a, b}, []Site{b, a}, "sites: changed"},
		"changed": {[]Site{a, b}, []Site{a, c}, `sites: -{host: b.example.org, content: /ipfs/x} +{host: b.example.org, content: "/ipfs/y, z"}`},
		"removed": {[]Site{a, b}, []Site{a}, "sites: -{host: b.example.org, content: /ipfs/x}"},
	} {
		running, next := Default(), Default()
		running.Sites, next.Sites = tc.from, tc.to
		_, changes := Reload(&running, &next)
		if len(changes.Changed) != 1 || changes.Changed[0].String() != tc.want {
			t.Errorf("%s: got %v, want %s", name, changes.Changed, tc.want)
		}
	}
}

// A secret that was changed is a change, though both look the same.
func TestReloadOfASecret(t *testing.T) {
	running, next := Default(), Default()
	running.Admin.Token, next.Admin.Token = "one", "two"
	got, changes := Reload(&running, &next)
	if len(changes.Changed) != 1 || changes.Changed[0].String() != "admin.token: changed" || got.Admin.Token != "two" {
		t.Errorf("got %v", changes)
	}
}

func TestLive(t *testing.T) {
	for key, want := range map[string]bool{"sites": true, "admin.token": true, "data": false, "swarm.secret": false, "swarm.secret_file": false, "nonsense": false} {
		if Live(key) != want {
			t.Errorf("%s: %t", key, !want)
		}
	}
}
