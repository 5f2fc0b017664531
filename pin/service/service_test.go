package service_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/pin/service"
)

const (
	emptyDir = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
	origin   = "/ip4/203.0.113.142/tcp/4001/p2p/12D3KooWSqSMnh5u5rsYqScjYYZyiDC5PMLCNYUvK39uqzBQJsWK"
)

// Every field goes in and comes out, byte for byte.
func TestLifeOfAPin(t *testing.T) {
	w := open(t, newShelf(), nil)
	a := w.ask(alice, "POST", "/pins", `{"cid":"`+emptyDir+`","name":"a & <b>","origins":["`+origin+`"],"meta":{"app_id":"1"},"vendor":{"x":[null]}}`)
	s := decode[status](t, a.body)
	pin := `"pin":{"cid":"` + emptyDir + `","name":"a & <b>","origins":["` + origin + `"],"meta":{"app_id":"1"}},"delegates":["` + delegate + `"]`
	form := func(state, info string) string {
		return fmt.Sprintf(`{"requestid":"%s","status":"%s","created":"%s",%s%s}`+"\n", *s.RequestID, state, *s.Created, pin, info)
	}
	if want := form("queued", ""); a.status != http.StatusAccepted || a.body != want {
		t.Errorf("POST gave %d %s, want 202 %s", a.status, a.body, want)
	}
	w.shelf.move(*s.RequestID, record.Failed, map[string]string{"status_details": "nobody has it"})
	want := form("failed", `,"info":{"status_details":"nobody has it"}`)
	if a := w.ask(alice, "GET", "/pins/"+*s.RequestID, ""); a.status != http.StatusOK || a.body != want {
		t.Errorf("GET gave %d %s, want 200 %s", a.status, a.body, want)
	}
	if a := w.ask(alice, "HEAD", "/pins/"+*s.RequestID, ""); a.status != http.StatusOK || a.header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("HEAD gave %d %v", a.status, a.header)
	}
	want = `{"count":1,"results":[` + strings.TrimSpace(want) + "]}\n"
	if a := w.ask(alice, "GET", "/pins?status=failed", ""); a.status != http.StatusOK || a.body != want {
		t.Errorf("GET gave %d %s, want 200 %s", a.status, a.body, want)
	}

	a = w.ask(alice, "POST", "/pins/"+*s.RequestID, `{"cid":"`+content("2").String()+`"}`)
	r := decode[status](t, a.body)
	if a.status != http.StatusAccepted || *r.RequestID == *s.RequestID || r.Pin.Name != nil || r.Pin.Meta != nil {
		t.Errorf("replace gave %d %s", a.status, a.body)
	}
	w.ask(alice, "GET", "/pins/"+*s.RequestID, "").want(t, 404, "NOT_FOUND")
	w.ask(alice, "POST", "/pins/"+*s.RequestID, `{"cid":"`+emptyDir+`"}`).want(t, 404, "NOT_FOUND")
	w.ask(alice, "GET", "/pins/"+*r.RequestID, "").want(t, 200, content("2").String())

	w.ask(alice, "DELETE", "/pins/"+*r.RequestID, "").want(t, 202, "")
	w.ask(alice, "DELETE", "/pins/"+*r.RequestID, "").want(t, 404, "NOT_FOUND")
	if a := w.ask(alice, "GET", "/pins", ""); a.body != `{"count":0,"results":[]}`+"\n" {
		t.Errorf("an empty list is %s", a.body)
	}
}

// The same content twice is two pins, each with an end of its own.
func TestSameContentTwice(t *testing.T) {
	w := open(t, newShelf(), nil)
	body := `{"cid":"` + emptyDir + `","name":"x"}`
	first, second := w.pin(alice, body), w.pin(alice, body)
	if first == second {
		t.Fatal("one requestid")
	}
	w.ask(alice, "DELETE", "/pins/"+first, "").want(t, 202, "")
	w.ask(alice, "GET", "/pins/"+second, "").want(t, 200, "")
}

func TestTokensAreApart(t *testing.T) {
	w := open(t, newShelf(), nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`","name":"mine"}`)
	w.ask(bob, "GET", "/pins/"+id, "").want(t, 404, "NOT_FOUND")
	w.ask(bob, "POST", "/pins/"+id, `{"cid":"`+emptyDir+`"}`).want(t, 404, "NOT_FOUND")
	w.ask(bob, "DELETE", "/pins/"+id, "").want(t, 404, "NOT_FOUND")
	if got := w.found(bob, "?status=queued"); got != " of 0" {
		t.Errorf("bob sees %s", got)
	}
	if got := w.found(alice, "?status=queued"); got != "mine of 1" {
		t.Errorf("alice sees %s", got)
	}
	if v, err := w.shelf.Get(t.Context(), service.Owner(alice), id); err != nil || strings.Contains(v.Owner, alice) {
		t.Errorf("the owner is %q, %v", v.Owner, err)
	}
}

func TestFilters(t *testing.T) {
	w := open(t, newShelf(), nil)
	created := map[string]string{}
	for i, name := range []string{"Old Page", "page", "PAGE", "Straße", "home page", "x,y"} {
		meta := fmt.Sprintf(`{"app":"web","n":"%d"}`, i)
		a := w.ask(alice, "POST", "/pins", fmt.Sprintf(`{"cid":"%s","name":"%s","meta":%s}`, content(name), name, meta))
		s := decode[status](t, a.body)
		created[name] = *s.Created
		w.shelf.move(*s.RequestID, record.Pinned, nil)
	}
	for _, state := range []record.Status{record.Queued, record.Pinning, record.Failed} {
		w.shelf.move(w.pin(alice, `{"cid":"`+emptyDir+`","name":"`+string(state)+`"}`), state, nil)
	}
	base36, err := cid.MustParse(content("page").String()).StringOfBase(multibase.Base36)
	if err != nil {
		t.Fatal(err)
	}
	v1 := cid.NewCidV1(cid.DagProtobuf, cid.MustParse(emptyDir).Hash()).String()
	all := "status=queued,pinning,pinned,failed"
	for _, c := range []struct{ query, want string }{
		{"", "x,y,home page,Straße,PAGE,page,Old Page of 6"},
		{"?", "x,y,home page,Straße,PAGE,page,Old Page of 6"},
		{"?utm=1", "x,y,home page,Straße,PAGE,page,Old Page of 6"},
		{"?limit=2", "x,y,home page of 6"},
		{"?" + all, "failed,pinning,queued,x,y,home page,Straße,PAGE,page,Old Page of 9"},
		{"?" + all + "&limit=1000", "failed,pinning,queued,x,y,home page,Straße,PAGE,page,Old Page of 9"},
		{"?status=queued", "queued of 1"},
		{"?status=failed,queued", "failed,queued of 2"},
		{"?status=failed&status=queued", "failed,queued of 2"},
		{"?name=page", "page of 1"},
		{"?name=page&match=exact", "page of 1"},
		{"?name=page&match=iexact", "PAGE,page of 2"},
		{"?name=page&match=partial", "home page,page of 2"},
		{"?name=pAGe&match=ipartial", "home page,PAGE,page,Old Page of 4"},
		{"?name=STRASSE&match=iexact", "Straße of 1"},
		{"?name=x%2Cy", "x,y of 1"},
		{"?name=none", " of 0"},
		{"?name=&match=partial&limit=1", "x,y of 6"},
		{"?match=partial&limit=1", "x,y of 6"},
		{"?name=queued", " of 0"},
		{"?cid=" + content("page").String(), "page of 1"},
		{"?cid=" + base36, "page of 1"},
		{"?cid=" + content("page").String() + "," + content("PAGE").String(), "PAGE,page of 2"},
		{"?cid=" + content("page").String() + "&cid=" + content("PAGE").String(), "PAGE,page of 2"},
		{"?cid=" + emptyDir, " of 0"},
		{"?limit=1&" + all + "&cid=" + emptyDir, "failed of 3"},
		{"?limit=1&" + all + "&cid=" + v1, "failed of 3"},
		{"?before=" + created["page"], "Old Page of 1"},
		{"?after=" + created["home page"], "x,y of 1"},
		{"?before=" + created["home page"] + "&after=" + created["page"], "Straße,PAGE of 2"},
		{"?before=" + created["page"] + "&after=" + created["home page"], " of 0"},
		{"?before=2000-01-01T00:00:00Z", " of 0"},
		{"?limit=1&after=2000-01-01T00:00:00.123456789%2B02:00", "x,y of 6"},
		{"?limit=1&after=2000-01-01T00:00:00+02:00", "x,y of 6"},
		{"?limit=1&after=2000-01-01t00:00:00z", "x,y of 6"},
		{"?meta=" + url.QueryEscape(`{"n":"3"}`), "Straße of 1"},
		{"?meta=" + url.QueryEscape(`{"n":"3","app":"web"}`), "Straße of 1"},
		{"?meta=" + url.QueryEscape(`{"n":"3","app":"cli"}`), " of 0"},
		{"?meta=" + url.QueryEscape(`{"none":""}`), " of 0"},
		{"?limit=1&meta=" + url.QueryEscape(`{"app":"web"}`), "x,y of 6"},
		{"?limit=1&meta=%7B%7D", "x,y of 6"},
		{"?match=ipartial&name=PAGE&before=" + created["PAGE"] + "&meta=" + url.QueryEscape(`{"n":"1"}`), "page of 1"},
	} {
		if got := w.found(alice, c.query); got != c.want {
			t.Errorf("%s found %s, want %s", c.query, got, c.want)
		}
	}
	ten := make([]string, 10)
	for i := range ten {
		ten[i] = content(fmt.Sprint("ten", i)).String()
	}
	ten[9] = content("page").String()
	if got := w.found(alice, "?cid="+strings.Join(ten, ",")); got != "page of 1" {
		t.Errorf("ten CIDs found %s", got)
	}
}

// A client reads all pages with the time of the oldest pin that it has.
func TestPaging(t *testing.T) {
	s := newShelf()
	s.initial = record.Pinned
	s.fill(service.Owner(alice), 25)
	w := open(t, s, nil)
	seen, before, counts := map[string]bool{}, "", []int{}
	for {
		r := decode[results](t, w.ask(alice, "GET", "/pins?"+before, "").body)
		counts = append(counts, *r.Count)
		for _, p := range *r.Results {
			if seen[*p.RequestID] {
				t.Fatalf("%s came twice", *p.RequestID)
			}
			seen[*p.RequestID] = true
			before = "before=" + *p.Created
		}
		if *r.Count == len(*r.Results) {
			break
		}
	}
	if len(seen) != 25 || fmt.Sprint(counts) != "[25 15 5]" {
		t.Errorf("%d pins, counts %v", len(seen), counts)
	}
}

// A CID comes back as it was written, whatever the multibase.
func TestSpelling(t *testing.T) {
	w := open(t, newShelf(), nil)
	for _, base := range []multibase.Encoding{multibase.Base32, multibase.Base32Upper, multibase.Base36, multibase.Base58BTC, multibase.Base64url} {
		text, err := content("spelled").StringOfBase(base)
		if err != nil {
			t.Fatal(err)
		}
		id := w.pin(alice, `{"cid":"`+text+`"}`)
		if s := decode[status](t, w.ask(alice, "GET", "/pins/"+id, "").body); *s.Pin.CID != text {
			t.Errorf("%s came back as %s", text, *s.Pin.CID)
		}
	}
	if got := w.found(alice, "?status=queued&cid="+content("spelled").String()); got != "-,-,-,-,- of 5" {
		t.Errorf("found %s", got)
	}
}

func TestReplicasInMeta(t *testing.T) {
	w := open(t, newShelf(), nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`","meta":{"shoal_replicas":"3"}}`)
	if v, err := w.shelf.Get(t.Context(), service.Owner(alice), id); err != nil || v.Replicas != 3 {
		t.Errorf("%d replicas, %v", v.Replicas, err)
	}
}

func TestBoundsOfAPin(t *testing.T) {
	w := open(t, newShelf(), nil)
	origins := make([]string, record.MaxOrigins)
	for i := range origins {
		origins[i] = fmt.Sprintf(`"/ip4/203.0.113.%d/udp/4001/quic-v1%s"`, i, origin[strings.Index(origin, "/p2p/"):])
	}
	meta := make([]string, record.MaxMeta)
	for i := range meta {
		meta[i] = fmt.Sprintf(`"%04d":"%s"`, i, strings.Repeat("v", record.MaxMetaBytes/record.MaxMeta-4))
	}
	name := strings.Repeat("\u00e9", record.MaxName)
	id := w.pin(alice, fmt.Sprintf(`{"cid":"%s","name":"%s","origins":[%s],"meta":{%s}}`, emptyDir, name, strings.Join(origins, ","), strings.Join(meta, ",")))
	s := decode[status](t, w.ask(alice, "GET", "/pins/"+id, "").body)
	if *s.Pin.Name != name || len(*s.Pin.Origins) != record.MaxOrigins || len(*s.Pin.Meta) != record.MaxMeta {
		t.Errorf("got %d origins, %d meta, name %q", len(*s.Pin.Origins), len(*s.Pin.Meta), *s.Pin.Name)
	}
	if got := w.found(alice, "?status=queued&name="+url.QueryEscape(name)); got != name+" of 1" {
		t.Errorf("found %s", got)
	}
	empty := w.pin(alice, ` { "cid" : "bafkqaaa" , "name" : "" , "origins" : [ ] , "meta" : { } } `)
	if s := decode[status](t, w.ask(alice, "GET", "/pins/"+empty, "").body); s.Pin.Name != nil || s.Pin.Origins != nil || s.Pin.Meta != nil {
		t.Errorf("what is empty came back: %+v", s.Pin)
	}
}

// What a view's delegates may not be sent as, is not sent.
func TestDelegates(t *testing.T) {
	s := newShelf()
	w := open(t, s, nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`"}`)
	many := []string{"/ip4/203.0.113.1/tcp/4001", delegate, delegate, delegate + "/p2p-circuit"}
	for i := range 30 {
		many = append(many, strings.Replace(delegate, "4001", fmt.Sprint(5000+i), 1))
	}
	s.mu.Lock()
	s.pins[0].Delegates = many
	s.mu.Unlock()
	got := *decode[status](t, w.ask(alice, "GET", "/pins/"+id, "").body).Delegates
	if len(got) != 20 || got[0] != delegate || got[1] == delegate {
		t.Errorf("got %v", got)
	}
}

func TestMountedWithChi(t *testing.T) {
	w := open(t, newShelf(), nil)
	r := chi.NewRouter()
	r.Mount("/pins", w)
	server := httptest.NewServer(r)
	defer server.Close()
	w.url = server.URL
	id := w.pin(alice, `{"cid":"`+emptyDir+`"}`)
	w.ask(alice, "GET", "/pins/"+id, "").want(t, 200, id)
	w.ask(alice, "GET", "/pins/", "").want(t, 200, `"count":0`)
	w.ask(alice, "PATCH", "/pins/"+id, "").want(t, 405, "METHOD_NOT_ALLOWED")
	w.ask(alice, "GET", "/pins/a/b", "").want(t, 404, "NOT_FOUND")
	w.ask(alice, "DELETE", "/pins/"+id, "").want(t, 202, "")
}

// A page of any origin may ask, with a token.
func TestBrowsers(t *testing.T) {
	w := open(t, newShelf(), nil)
	a := w.ask("", "OPTIONS", "/pins/x", "", "Origin", "https://ui.example", "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization")
	if a.status != 204 || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "DELETE") || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("got %d %v", a.status, a.header)
	}
	w.ask(alice, "POST", "/pins", `{"cid":"`+emptyDir+`"}`, "Origin", "https://ui.example").want(t, 202, "")
}

func TestTokensChange(t *testing.T) {
	w := open(t, newShelf(), nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`"}`)
	if err := w.SetTokens([]string{"other", "has space"}); err == nil || !strings.Contains(err.Error(), "pin.tokens[1]") || strings.Contains(err.Error(), "has space") && strings.Contains(err.Error(), `"has`) {
		t.Errorf("got %v", err)
	}
	w.ask(alice, "GET", "/pins/"+id, "").want(t, 200, "")
	if err := w.SetTokens([]string{bob}); err != nil {
		t.Fatal(err)
	}
	w.ask(alice, "GET", "/pins/"+id, "").want(t, 401, "UNAUTHORIZED")
	if err := w.SetTokens([]string{bob, alice}); err != nil {
		t.Fatal(err)
	}
	w.ask(alice, "GET", "/pins/"+id, "").want(t, 200, "")
	if err := w.SetTokens(nil); err != nil {
		t.Fatal(err)
	}
	w.ask(bob, "GET", "/pins", "").want(t, 401, "UNAUTHORIZED")
}

func TestNamedTokensCanBeExchanged(t *testing.T) {
	w := open(t, newShelf(), nil)
	let := func(entries ...string) {
		t.Helper()
		if err := w.SetTokens(entries); err != nil {
			t.Fatal(err)
		}
	}
	let("site:old")
	id := w.pin("old", `{"cid":"`+emptyDir+`"}`)
	w.ask("site:old", "GET", "/pins/"+id, "").want(t, 401, "UNAUTHORIZED")
	let("site:old", "site:new", "other:third")
	w.ask("old", "GET", "/pins/"+id, "").want(t, 200, "")
	w.ask("new", "GET", "/pins/"+id, "").want(t, 200, "")
	w.ask("third", "GET", "/pins/"+id, "").want(t, 404, "NOT_FOUND")
	let("site:new")
	w.ask("old", "GET", "/pins/"+id, "").want(t, 401, "UNAUTHORIZED")
	w.ask("new", "GET", "/pins/"+id, "").want(t, 200, "")
}

func TestParseTokens(t *testing.T) {
	tokens, err := service.ParseTokens("# laptop\n abc \r\n\n\tdef+/=\n#x\n")
	if err != nil || fmt.Sprint(tokens) != "[abc def+/=]" {
		t.Errorf("got %q, %v", tokens, err)
	}
	for text, want := range map[string]string{
		"ok\ntwo words\n":                   "line 2: the token has a space",
		":x":                                "no name",
		"a b:x":                             "no name",
		"a:b:c":                             "two colons",
		"a:":                                "line 1: the token is empty",
		"caf\u00e9":                         "line 1: the token has a space or a character",
		strings.Repeat("x", 1025):           "line 1: the token has 1025 bytes",
		strings.Repeat("x", 128<<10):        "too long",
		"a\n\n" + strings.Repeat("\x00", 2): "line 3",
	} {
		if _, err := service.ParseTokens(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestOptions(t *testing.T) {
	if err := service.DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*service.Options){
		"pin.tokens[1]: the token is empty": func(o *service.Options) { o.Tokens = []string{"a", ""} },
		"MaxBody":                           func(o *service.Options) { o.MaxBody = 0 },
		"MaxConcurrent":                     func(o *service.Options) { o.MaxConcurrent = 0 },
		"BodyTimeout":                       func(o *service.Options) { o.BodyTimeout = -time.Second },
		"AnswerTimeout":                     func(o *service.Options) { o.AnswerTimeout = 0 },
	} {
		opts := service.DefaultOptions()
		change(&opts)
		if err := opts.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := service.New(opts, newShelf(), nil, nil); err == nil {
			t.Error("New took it")
		}
	}
	if _, err := service.New(service.DefaultOptions(), nil, nil, nil); err == nil || errors.Is(err, record.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}
