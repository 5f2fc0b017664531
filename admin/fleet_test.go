package admin_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/admin"
)

func TestFleet(t *testing.T) {
	c := &content{}
	a, err := admin.New(admin.DefaultOptions(), c.deps(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, path string) (int, string) {
		r := httptest.NewRequest(method, path, nil)
		r.Host = "127.0.0.1:8081"
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: not JSON: %s", path, w.Body)
		}
		return w.Code, w.Body.String()
	}
	const id = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
	for _, tc := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"GET", "/api/v1/swarm", 200, `"name":"there"`},
		{"GET", "/api/v1/swarm/where?cid=" + id, 200, `"homes":["there","here"]`},
		{"GET", "/api/v1/swarm/where?cid=nonsense", 400, "expected a CID"},
		{"GET", "/api/v1/swarm/where", 400, "expected a CID"},
		{"GET", "/api/v1/swarm/where?cid=" + id + "&x=1", 400, "unknown parameter"},
		// What this edge does not have is an error only if the fleet is not asked.
		{"POST", "/api/v1/purge?path=" + id, 404, "not on this edge"},
		{"POST", "/api/v1/purge?fleet=true&path=" + id, 200, `"edge":"there","removed":3`},
		{"POST", "/api/v1/purge?fleet=perhaps&path=" + id, 400, "fleet"},
	} {
		code, body := ask(tc.method, tc.path)
		if code != tc.code || !strings.Contains(strings.ReplaceAll(body, "\n", ""), tc.want) {
			t.Errorf("%s %s: %d %s; want %d with %s", tc.method, tc.path, code, body, tc.code, tc.want)
		}
	}
}
