package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	const root = "/ipfs/bafkqaaa"
	for _, tc := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Serve = "all" }, `gateway.serve: "all": want sites, pinned or any`},
		{func(o *Options) { o.Hosts = []Host{{"http://x", false}} }, `gateway.hosts[0].host: "http://x": want a DNS name`},
		{func(o *Options) { o.Hosts = []Host{{"a.b", false}, {"A.b", true}} }, `gateway.hosts[1].host: "A.b": listed twice`},
		{func(o *Options) { o.Hosts = []Host{{"10.0.0.1", true}} }, `has no subdomains`},
		{func(o *Options) { o.Sites = []Site{{"", root}} }, `sites[0].host: "": want a DNS name`},
		{func(o *Options) { o.Sites = []Site{{"a\x1b[31m.b", root}} }, `sites[0].host: "a\x1b[31m.b": want a DNS name`},
		{func(o *Options) { o.Sites = []Site{{"a.b:80", root}} }, `sites[0].host: "a.b:80"`},
		{func(o *Options) { o.Sites = []Site{{"a.b", root}, {"A.B", root}} }, `sites[1].host: "A.B": listed twice`},
		{func(o *Options) { o.Sites = []Site{{"a.b", "/ipfs/nonsense"}} }, `sites[0].content: "/ipfs/nonsense": want /ipfs/CID`},
		{func(o *Options) { o.Sites = []Site{{"a.b", "/ipld/bafkqaaa"}} }, `want /ipfs/CID`},
		{func(o *Options) { o.Sites = []Site{{"a.b", ""}} }, `sites[0].content: ""`},
		{func(o *Options) { o.TrustedProxies = []string{"10.0.0.0/8", "lan"} }, `gateway.trusted_proxies[1]: "lan": want a CIDR`},
		{func(o *Options) { o.MaxRequests = 0 }, `gateway.max_requests: 0: want a positive number`},
		{func(o *Options) { o.MaxResponseSize = -1 }, `gateway.max_response_size: -1`},
		{func(o *Options) { o.RetrievalTimeout = -time.Second }, `gateway.retrieval_timeout: -1s: want a positive duration`},
		{func(o *Options) { o.FetchParallel = -2 }, `gateway.fetch_parallel: -2`},
	} {
		o := DefaultOptions()
		tc.change(&o)
		err := o.Validate()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
		if _, err := New(o, Deps{Blocks: newShelf(), Names: newRegistry(), Log: slog.New(slog.DiscardHandler)}); err == nil {
			t.Errorf("New took what Validate refuses: %s", tc.want)
		}
	}
	if _, err := New(DefaultOptions(), Deps{}); err == nil {
		t.Error("New took empty Deps")
	}
}
