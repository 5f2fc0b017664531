package service_test

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/pin/service"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Whatever the body, the answer is a pin within bounds or an error in form.
func FuzzBody(f *testing.F) {
	f.Add(`{"cid":"` + emptyDir + `","name":"x","origins":["` + origin + `"],"meta":{"a":"b"}}`)
	f.Add(`{"cid":"bafkqaaa","name":"\ud800","cid":"` + emptyDir + `"}`)
	f.Add(`{"cid":null}`)
	f.Add(`[[{`)
	f.Fuzz(func(t *testing.T, body string) {
		shelf := newShelf()
		a := direct(t, shelf, "POST", "/pins", body)
		switch {
		case a.status == 202:
			p := shelf.pins[0].Pin
			if !p.CID.Defined() || utf8.RuneCountInString(p.Name) > record.MaxName || len(p.Origins) > record.MaxOrigins || len(p.Meta) > record.MaxMeta {
				t.Errorf("%q made %+v", body, p)
			}
		case a.status != 400 || shelf.made != 0:
			t.Errorf("%q gave %d %s", body, a.status, a.body)
		}
	})
}

// Whatever the query, the answer is a list or an error in form.
func FuzzQuery(f *testing.F) {
	f.Add("status=queued,pinned&limit=1000&name=x&match=ipartial&before=2020-07-27T17:32:28.276Z&after=2020-07-27T17:32:28+02:00")
	f.Add("cid=" + emptyDir + ",bafkqaaa&meta=" + url.QueryEscape(`{"a":"b"}`))
	f.Add("before= 020-07-27T17:32:28Z;%zz")
	f.Fuzz(func(t *testing.T, query string) {
		shelf := newShelf()
		shelf.fill(service.Owner(alice), 3)
		if a := direct(t, shelf, "GET", "/pins?"+query, ""); a.status != 200 && a.status != 400 {
			t.Errorf("%q gave %d %s", query, a.status, a.body)
		}
	})
}

// direct asks without a connection.
func direct(t *testing.T, pins service.Pins, method, target, body string) answer {
	opts := service.DefaultOptions()
	opts.Tokens = []string{alice}
	s, err := service.New(opts, pins, discard(), nil)
	if err != nil {
		t.Fatal(err)
	}
	path, query, _ := strings.Cut(target, "?")
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.URL.RawQuery = query
	r.Header.Set("Authorization", "Bearer "+alice)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	a := answer{w.Code, w.Header(), w.Body.String()}
	checkForm(t, method, path, a)
	return a
}
