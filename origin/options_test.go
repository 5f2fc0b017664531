package origin

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	spec := func(s Spec) func(*Options) {
		return func(o *Options) { o.Origins = []Spec{{Type: "car", Path: "x.car"}, s} }
	}
	for want, change := range map[string]func(*Options){
		`origins[1].type: "ftp" is not a type of origin: expected one of bitswap, car, gateway`: spec(Spec{Type: "ftp"}),
		`origins[1].addr: "": expected a multiaddr`:                                             spec(Spec{Type: "bitswap"}),
		`origins[1].addr: "/ip4/10.0.0.9/tcp/4001": expected`:                                   spec(Spec{Type: "bitswap", Addr: "/ip4/10.0.0.9/tcp/4001"}),
		`origins[1].addr: an origin of type bitswap`:                                            spec(Spec{Type: "bitswap", Addr: "x", URL: "http://x"}),
		`origins[1].addr: an origin of type car`:                                                spec(Spec{Type: "car", Path: "x", Addr: "x"}),
		`origins[1].addr: "x": an origin of type gateway`:                                       spec(Spec{Type: "gateway", URL: "http://x", Addr: "x"}),
		`origins[1].type: ""`:                                                                   spec(Spec{}),
		`origins[1].path: "": expected`:                                                         spec(Spec{Type: "car"}),
		`origins[1].url: an origin of type`:                                                     spec(Spec{Type: "car", Path: "x", URL: "http://x"}),
		`origins[1].token: an origin`:                                                           spec(Spec{Type: "car", Path: "x", Token: "secret"}),
		`origins[1].path: "x"`:                                                                  spec(Spec{Type: "gateway", Path: "x", URL: "http://x"}),
		`url: "": scheme is ""`:                                                                 spec(Spec{Type: "gateway"}),
		`url: "ftp://x": scheme is "ftp"`:                                                       spec(Spec{Type: "gateway", URL: "ftp://x"}),
		`url: "https:///x": no host`:                                                            spec(Spec{Type: "gateway", URL: "https:///x"}),
		`port is "99999": expected`:                                                             spec(Spec{Type: "gateway", URL: "https://x:99999"}),
		`url: "https://x?y": a query`:                                                           spec(Spec{Type: "gateway", URL: "https://x?y"}),
		`url: not a URL`:                                                                        spec(Spec{Type: "gateway", URL: "https://u:secret@x:port"}),
		`expected one way to authenticate`:                                                      spec(Spec{Type: "gateway", URL: "https://u:secret@x", Token: "secret"}),
		`token: holds a line break`:                                                             spec(Spec{Type: "gateway", URL: "https://x", Token: "secret\r\n"}),
		`headers: "Accept" is set by`:                                                           spec(Spec{Type: "gateway", URL: "https://x", Headers: map[string]string{"Accept": "secret"}}),
		`headers: "a b" is not the name`:                                                        spec(Spec{Type: "gateway", URL: "https://x", Headers: map[string]string{"a b": "secret"}}),
		`headers: "X" holds a line break`:                                                       spec(Spec{Type: "gateway", URL: "https://x", Headers: map[string]string{"X": "secret\n"}}),
		`headers: Authorization and token`:                                                      spec(Spec{Type: "gateway", URL: "https://x", Token: "secret", Headers: map[string]string{"Authorization": "secret"}}),
		`Concurrency: 0: expected a number`:                                                     func(o *Options) { o.Concurrency = 0 },
		`Attempts: -1: expected a number`:                                                       func(o *Options) { o.Attempts = -1 },
	} {
		o := DefaultOptions()
		change(&o)
		s, err := New(o, nil, slog.New(slog.DiscardHandler), nil)
		if err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want ...%s...", err, want)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("a secret in: %v", err)
		}
	}
}

func TestSpecHidesItsSecrets(t *testing.T) {
	s := Spec{Type: TypeGateway, URL: "https://user:secret@gw.example/x", Token: "secret", Headers: map[string]string{"X": "secret"}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("origin", "spec", s)
	for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%v", []Spec{s}), log.String()} {
		if strings.Contains(shown, "secret") || !strings.Contains(shown, "gw.example") {
			t.Errorf("shown: %s", shown)
		}
	}
}

func TestNamesAreUnique(t *testing.T) {
	o := DefaultOptions()
	for _, u := range []string{"https://gw.example", "https://u:p@gw.example/x", "http://gw.example:8080", "http://gw.example"} {
		o.Origins = append(o.Origins, Spec{Type: TypeGateway, URL: u})
	}
	s := open(t, o)
	var names []string
	for _, origin := range s.origins() {
		names = append(names, origin.name)
	}
	if got := fmt.Sprint(names); got != "[gw.example gw.example#2 gw.example:8080 gw.example#3]" || s.Len() != 4 {
		t.Fatal(got)
	}
}

func TestMetricsAreRegisteredOnceAndGivenBack(t *testing.T) {
	reg, log := prometheus.NewRegistry(), slog.New(slog.DiscardHandler)
	s, err := New(DefaultOptions(), nil, log, reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(DefaultOptions(), nil, log, reg); err == nil {
		t.Error("a second set registered the same metrics")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s, err = New(DefaultOptions(), nil, log, reg)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	s.Close()
	o := DefaultOptions()
	o.Origins = []Spec{{Type: TypeCAR, Path: t.TempDir() + "/missing.car"}}
	if _, err := New(o, nil, log, reg); err == nil || !strings.Contains(err.Error(), "missing.car") {
		t.Errorf("got %v", err)
	}
	if _, err := New(DefaultOptions(), nil, log, reg); err != nil {
		t.Errorf("after a failed New: %v", err)
	}
}
