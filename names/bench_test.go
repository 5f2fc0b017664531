package names

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"
)

// BenchmarkResolveKnown is what a request to a site costs when its name is known.
func BenchmarkResolveKnown(b *testing.B) {
	z, g := newZone(), newRecords()
	resolver, gateway := httptest.NewServer(z), httptest.NewServer(g)
	defer resolver.Close()
	defer gateway.Close()
	opts := DefaultOptions()
	opts.Resolvers, opts.IPNSGateway = []string{resolver.URL}, gateway.URL
	n, err := New(opts, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	k := newKey(b)
	g.set(k.name, k.sign(pageA, 1, time.Hour, time.Hour))
	z.link("www.example.com", pageA, 3600)
	for name, from := range map[string]string{"dnslink": "/ipns/www.example.com/index.html", "ipns": k.path() + "/index.html"} {
		b.Run(name, func(b *testing.B) {
			p := mustPath(b, from)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := n.Resolve(context.Background(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
