package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/problem"
)

func TestBadPins(t *testing.T) {
	w := open(t, newShelf(), nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`"}`)
	md5, err := multihash.Sum([]byte("x"), multihash.MD5, -1)
	if err != nil {
		t.Fatal(err)
	}
	long, err := multihash.Sum(make([]byte, 500), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	with := func(fields string) string { return `{"cid":"` + emptyDir + `",` + fields + `}` }
	origins := make([]string, record.MaxOrigins+1)
	for i := range origins {
		origins[i] = fmt.Sprintf(`"/dns4/a%d.example%s"`, i, origin[strings.Index(origin, "/tcp/"):])
	}
	meta := make([]string, record.MaxMeta+1)
	for i := range meta {
		meta[i] = fmt.Sprintf(`"%d":""`, i)
	}
	for _, c := range []struct{ body, want string }{
		{`{`, "not JSON: unexpected end of JSON input at byte 1"},
		{`{"cid":"` + emptyDir + `"} x`, "not JSON"},
		{`{"cid":"` + emptyDir + `"}{}`, "not JSON"},
		{`{'cid':1}`, "not JSON"},
		{"\xef\xbb\xbf{}", "not JSON"},
		{`{"cid":"` + emptyDir + `","name":"` + "\xff" + `"}`, "not UTF-8"},
		{strings.Repeat("[", 20000), "not JSON"},
		{`[]`, "expected a JSON object, got an array"},
		{`null`, "expected a JSON object, got null"},
		{`"cid"`, "expected a JSON object, got a string"},
		{`{}`, "cid: missing"},
		{`{"CID":"` + emptyDir + `"}`, "cid: missing"},
		{`{"cid":null}`, "cid: expected a string, got null"},
		{`{"cid":{"/":"` + emptyDir + `"}}`, "cid: expected a string, got an object"},
		{`{"cid":""}`, "is not a CID"},
		{`{"cid":"QmCIDToBePinned"}`, "is not a CID"},
		{`{"cid":" ` + emptyDir + `"}`, "is not a CID"},
		{`{"cid":"/ipfs/` + emptyDir + `"}`, "not a path"},
		{`{"cid":"` + strings.Repeat("b", 2000) + `"}`, "a CID of 2000 bytes"},
		{`{"cid":"` + cid.NewCidV1(cid.Raw, md5).String() + `"}`, "cannot be verified"},
		{`{"cid":"` + cid.NewCidV1(cid.Raw, long).String() + `"}`, "cannot be verified"},
		{`{"cid":"` + cid.NewCidV1(cid.Libp2pKey, content("x").Hash()).String() + `"}`, "is an IPNS name"},
		{with(`"name":null`), "name: expected a string, got null"},
		{with(`"name":7`), "name: expected a string, got a number"},
		{with(`"name":"` + strings.Repeat("x", 256) + `"`), "name: 256 characters, expected at most 255"},
		{with(`"name":"a\u001b[31m"`), "has the control character U+001B"},
		{with(`"name":"\u202egpj.exe"`), "has the control character U+202E"},
		{with(`"origins":null`), "origins: expected an array of multiaddrs, got null"},
		{with(`"origins":"` + origin + `"`), "origins: expected an array of multiaddrs, got a string"},
		{with(`"origins":[` + strings.Join(origins, ",") + `]`), "origins: 21 addresses, expected at most 20"},
		{with(`"origins":[true]`), "origins[0]: expected a string, got a boolean"},
		{with(`"origins":["` + origin + `","` + origin + `"]`), "origins[1]: " + origin[:30]},
		{with(`"origins":["http://example.org"]`), "is not a multiaddr"},
		{with(`"origins":[""]`), "is not a multiaddr"},
		{with(`"origins":["/ip4/203.0.113.1/tcp/4001"]`), "does not end in /p2p/"},
		{with(`"origins":["` + origin + `/p2p-circuit"]`), "does not end in /p2p/"},
		{with(`"origins":["/ip4/203.0.113.1/tcp/4001/p2p/QmSourcePeerId"]`), "is not a multiaddr"},
		{with(`"origins":["/` + strings.Repeat("x", 2000) + `"]`), "an address of 2001 bytes"},
		{with(`"meta":null`), "meta: expected a JSON object, got null"},
		{with(`"meta":[]`), "meta: expected a JSON object, got an array"},
		{with(`"meta":{"a":1}`), "meta.a: expected a string, got a number"},
		{with(`"meta":{"a":null}`), "meta.a: expected a string, got null"},
		{with(`"meta":{` + strings.Join(meta, ",") + `}`), "meta: 1001 entries, expected at most 1000"},
		{with(`"meta":{"a":"` + strings.Repeat("x", record.MaxMetaBytes) + `"}`), "meta: 16385 bytes, expected at most 16384"},
		{with(`"meta":{"shoal_replicas":"0"}`), "expected a number from 1 to 100"},
		{with(`"meta":{"shoal_replicas":"many"}`), "expected a number from 1 to 100"},
	} {
		w.ask(alice, "POST", "/pins", c.body).want(t, 400, c.want)
		w.ask(alice, "POST", "/pins/"+id, c.body).want(t, 400, c.want)
	}
	w.ask(alice, "POST", "/pins", "").want(t, 400, "unexpected end")
	if w.shelf.made != 1 {
		t.Errorf("%d pins were made", w.shelf.made)
	}
	w.ask(alice, "GET", "/pins/"+id, "").want(t, 200, id)
}

func TestBadQueries(t *testing.T) {
	w := open(t, newShelf(), nil)
	eleven := make([]string, 11)
	for i := range eleven {
		eleven[i] = content(fmt.Sprint(i)).String()
	}
	for query, want := range map[string]string{
		"cid=":                                  "cid[0]: \\\"\\\" is not a CID",
		"cid=" + emptyDir + ",":                 "cid[1]",
		"cid=" + emptyDir + ",nope":             "cid[1]: \\\"nope\\\" is not a CID",
		"cid=" + emptyDir + "," + emptyDir:      "is there twice",
		"cid=" + strings.Join(eleven, ","):      "11 CIDs, expected at most 10",
		"cid=" + strings.Join(eleven, "&cid="):  "11 CIDs, expected at most 10",
		"name=" + strings.Repeat("x", 256):      "name: 256 characters",
		"name=a&name=b":                         "name: given 2 times",
		"name=%ff":                              "name: not UTF-8",
		"match=regex":                           "match: \\\"regex\\\"",
		"match=":                                "match: \\\"\\\"",
		"match=Exact":                           "expected exact, iexact, partial or ipartial",
		"status=":                               "status: \\\"\\\"",
		"status=all":                            "expected queued, pinning, pinned or failed",
		"status=Pinned":                         "status",
		"status=pinned,pinned":                  "pinned is there twice",
		"status=pinned,":                        "status: \\\"\\\"",
		"before=":                               "before: \\\"\\\"",
		"before=yesterday":                      "expected a time such as",
		"before=2020-07-27":                     "expected a time such as",
		"before=2020-07-27T1:32:28Z":            "expected a time such as",
		"before=2020-07-27T17:32:28,5Z":         "expected a time such as",
		"before=2020-07-27T17:32:28":            "expected a time such as",
		"after=1595871148276":                   "expected a time such as",
		"after=2020-13-27T17:32:28Z":            "expected a time such as",
		"limit=":                                "limit: \\\"\\\"",
		"limit=0":                               "expected a number from 1 to 1000",
		"limit=1001":                            "expected a number from 1 to 1000",
		"limit=-1":                              "expected a number from 1 to 1000",
		"limit=ten":                             "expected a number from 1 to 1000",
		"limit=99999999999999999999":            "expected a number from 1 to 1000",
		"limit=1&limit=2":                       "limit: given 2 times",
		"meta=":                                 "meta: not JSON",
		"meta=map%5Bapp%3A1%5D":                 "meta: not JSON",
		"meta=" + url.QueryEscape(`{"a":1}`):    "meta.a: expected a string, got a number",
		"meta=" + url.QueryEscape(`{"a":null}`): "meta.a: expected a string, got null",
		"meta=" + url.QueryEscape(`["a"]`):      "expected a JSON object, got an array",
		"meta=null":                             "expected a JSON object, got null",
		"name=%zz":                              "not URL-encoded",
		"a;b":                                   "not URL-encoded",
	} {
		w.ask(alice, "GET", "/pins?"+query, "").want(t, 400, want)
	}
}

func TestRefusedRequests(t *testing.T) {
	w := open(t, newShelf(), func(o *service.Options) { o.MaxBody = 1000 })
	pin := `{"cid":"` + emptyDir + `"}`
	for _, c := range []struct {
		name, token, method, target, body string
		header                            []string
		status                            int
		want                              string
	}{
		{"no token", "", "GET", "/pins", "", nil, 401, "UNAUTHORIZED"},
		{"unknown token", "nope", "GET", "/pins", "", nil, 401, "UNAUTHORIZED"},
		{"part of a token", alice[:5], "POST", "/pins", pin, nil, 401, "UNAUTHORIZED"},
		{"other scheme", "", "GET", "/pins", "", []string{"Authorization", "Basic " + alice}, 401, "UNAUTHORIZED"},
		{"bare token", "", "GET", "/pins", "", []string{"Authorization", alice}, 401, "UNAUTHORIZED"},
		{"empty token", "", "GET", "/pins", "", []string{"Authorization", "Bearer "}, 401, "UNAUTHORIZED"},
		{"owner for token", service.Owner(alice), "GET", "/pins", "", nil, 401, "UNAUTHORIZED"},
		{"unknown place, no token", "", "GET", "/pins/a/b", "", nil, 401, "UNAUTHORIZED"},
		{"scheme in any case", "", "GET", "/pins", "", []string{"Authorization", "bearer " + alice}, 200, ""},
		{"unknown place", alice, "GET", "/pins/a/b", "", nil, 404, "NOT_FOUND"},
		{"other place", alice, "GET", "/pinsx", "", nil, 404, "NOT_FOUND"},
		{"outside", alice, "GET", "/", "", nil, 404, "NOT_FOUND"},
		{"escaped slash", alice, "GET", "/pins/a%2Fb", "", nil, 404, "NOT_FOUND"},
		{"no such pin", alice, "GET", "/pins/nope", "", nil, 404, "NOT_FOUND"},
		{"endless requestid", alice, "DELETE", "/pins/" + strings.Repeat("x", 2000), "", nil, 404, "NOT_FOUND"},
		{"get with an endless requestid", alice, "GET", "/pins/" + strings.Repeat("x", 2000), "", nil, 404, "NOT_FOUND"},
		{"replace with an endless requestid", alice, "POST", "/pins/" + strings.Repeat("x", 2000), pin, nil, 404, "NOT_FOUND"},
		{"delete all", alice, "DELETE", "/pins", "", nil, 405, "METHOD_NOT_ALLOWED"},
		{"put", alice, "PUT", "/pins/x", pin, nil, 405, "METHOD_NOT_ALLOWED"},
		{"form", alice, "POST", "/pins", pin, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "UNSUPPORTED_TYPE"},
		{"text", alice, "POST", "/pins", pin, []string{"Content-Type", "text/plain"}, 415, "UNSUPPORTED_TYPE"},
		{"malformed type", alice, "POST", "/pins", pin, []string{"Content-Type", ";;"}, 415, "UNSUPPORTED_TYPE"},
		{"charset", alice, "POST", "/pins", pin, []string{"Content-Type", "application/json; charset=latin1"}, 415, "charset"},
		{"gzip", alice, "POST", "/pins", pin, []string{"Content-Encoding", "gzip"}, 415, "Content-Encoding gzip"},
		{"utf-8", alice, "POST", "/pins", pin, []string{"Content-Type", `Application/JSON; charset="UTF-8"`}, 202, ""},
		{"no type", alice, "POST", "/pins", pin, []string{"Content-Type", "-"}, 202, ""},
		{"enormous", alice, "POST", "/pins", strings.Repeat(" ", 1001), nil, 413, "more than 1000 bytes"},
		{"just small enough", alice, "POST", "/pins", pin + strings.Repeat(" ", 1000-len(pin)), nil, 202, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			a := w.ask(c.token, c.method, c.target, c.body, c.header...)
			a.want(t, c.status, c.want)
			if got := a.header.Get("WWW-Authenticate"); (a.status == 401) != strings.HasPrefix(got, "Bearer") {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			if got := a.header.Get("Allow"); (a.status == 405) != strings.HasPrefix(got, "GET, ") {
				t.Errorf("Allow: %q", got)
			}
		})
	}
}

// A body without a length is not read beyond the bound, nor for ever.
func TestBodiesAreBounded(t *testing.T) {
	w := open(t, newShelf(), func(o *service.Options) { o.MaxBody, o.BodyTimeout = 1000, 50*time.Millisecond })
	for want, body := range map[int]string{
		413: fmt.Sprintf("%x\r\n%s\r\n", 2000, strings.Repeat(" ", 2000)),
		408: "5\r\n{    \r\n", // and no more
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /pins HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%s", alice, body)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s %v, want %d", res.Status, res.Header, want)
		}
	}
}

// oddPins fails as it is told, and waits for its context when it is told nothing.
type oddPins struct {
	*shelf
	fail func() error
}

func (p oddPins) Get(ctx context.Context, _, _ string) (record.View, error) {
	if p.fail == nil {
		<-ctx.Done()
		return record.View{}, fmt.Errorf("read the list: %w", ctx.Err())
	}
	return record.View{}, p.fail()
}

type reasoned struct {
	reason problem.Reason
	text   string
}

func (r reasoned) Error() string          { return r.text }
func (r reasoned) Reason() problem.Reason { return r.reason }

func TestPinsFail(t *testing.T) {
	secret := "open /var/lib/pins: dial 10.0.0.7"
	for _, c := range []struct {
		fail   func() error
		status int
		want   string
	}{
		{func() error { return errors.New(secret) }, 500, "INTERNAL_SERVER_ERROR"},
		{func() error { return reasoned{"UNHEARD_OF", secret} }, 500, "INTERNAL_SERVER_ERROR"},
		{func() error { return reasoned{problem.Internal, secret} }, 500, "INTERNAL_SERVER_ERROR"},
		{func() error { panic(secret) }, 500, "INTERNAL_SERVER_ERROR"},
		{func() error { return fmt.Errorf("get: %w", record.ErrNotFound) }, 404, "NOT_FOUND"},
		{func() error { return fmt.Errorf("get: %w", reasoned{problem.BadRequest, "no"}) }, 400, "get: no"},
		{func() error { return reasoned{problem.StorageFull, "the disk is full"} }, 507, "the disk is full"},
		{func() error { return reasoned{problem.Unavailable, "shutting down"} }, 503, "shutting down"},
	} {
		w := open(t, oddPins{newShelf(), c.fail}, nil)
		a := w.ask(alice, "GET", "/pins/x", "")
		a.want(t, c.status, c.want)
		if strings.Contains(a.body, secret) {
			t.Errorf("the client reads %s", a.body)
		}
		if c.status == 500 && !strings.Contains(w.log.String(), "10.0.0.7") {
			t.Errorf("the log has only %s", w.log)
		}
	}
}

func TestPinsTakeTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		a := direct(t, oddPins{shelf: newShelf()}, "GET", "/pins/x", "")
		a.want(t, 503, "UNAVAILABLE")
		if took := time.Since(begun); took != service.DefaultOptions().AnswerTimeout || a.header.Get("Retry-After") == "" {
			t.Errorf("after %s: %v", took, a.header)
		}
	})
}

// Requests of one token above the bound wait, then get 429; other tokens go on.
func TestOneTokenManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := service.DefaultOptions()
		opts.Tokens, opts.MaxConcurrent, opts.AnswerTimeout = []string{alice, bob}, 2, time.Hour
		s, err := service.New(opts, oddPins{shelf: newShelf()}, slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(ctx context.Context, token, target string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			s.ServeHTTP(w, r)
			return w
		}
		ctx, leave := context.WithCancel(t.Context())
		gone := make(chan int, 2)
		for range 2 {
			go func() { gone <- ask(ctx, alice, "/pins/x").Code }()
		}
		synctest.Wait()
		begun := time.Now()
		if w := ask(t.Context(), alice, "/pins"); w.Code != 429 || w.Header().Get("Retry-After") == "" || time.Since(begun) != 5*time.Second {
			t.Errorf("got %d after %s: %s", w.Code, time.Since(begun), w.Body)
		}
		if w := ask(t.Context(), bob, "/pins"); w.Code != 200 {
			t.Errorf("bob got %d", w.Code)
		}
		if err := s.SetTokens([]string{alice}); err != nil {
			t.Fatal(err)
		}
		waiting := make(chan int)
		go func() { waiting <- ask(t.Context(), alice, "/pins").Code }()
		synctest.Wait()
		leave()
		if a, b := <-gone, <-gone; a != 499 || b != 499 {
			t.Errorf("those who left got %d and %d", a, b)
		}
		if code := <-waiting; code != 200 {
			t.Errorf("the one who waited got %d", code)
		}
	})
}
