package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-cdn/shoal/pin/service"
)

func TestLogAndMetrics(t *testing.T) {
	w := open(t, newShelf(), nil)
	id := w.pin(alice, `{"cid":"`+emptyDir+`","name":"private name"}`)
	w.ask(alice, "POST", "/pins/"+id, `{"cid":"`+emptyDir+`"}`)
	w.ask(alice, "GET", "/pins", "")
	w.ask(alice, "GET", "/pins/"+id+"%0A"+strings.Repeat("x", 500), "")
	w.ask(alice, "DELETE", "/pins/pin-000002", "")
	w.ask("made-up-token", "GET", "/pins", "")
	w.ask("", "OPTIONS", "/pins", "")
	w.ask("", "BREW", "/pins", "")
	w.ask(alice, "BREW", "/teapot", "")

	log := w.log.String()
	for _, secret := range []string{alice, bob, "made-up-token", "private name"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q: %s", secret, log)
		}
	}
	for _, want := range []string{
		`level=INFO msg="pins changed" endpoint=add status=202`,
		`owner=` + service.Owner(alice) + ` requestid=pin-000001 cid=` + emptyDir,
		`requestid=pin-000002 replaces=pin-000001`,
		`level=INFO msg="pins changed" endpoint=remove status=202`,
		`level=DEBUG msg="pin request" endpoint=list status=401`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q: %s", want, log)
		}
	}
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range families[len(families)-1].GetMetric() {
		got = append(got, fmt.Sprint(m.GetLabel()[1].GetValue(), " ", m.GetLabel()[0].GetValue(), " ", m.GetCounter().GetValue()))
	}
	want := []string{"add 202 1", "get 404 1", "list 200 1", "list 401 1", "options 204 1", "other 401 1", "other 404 1", "remove 202 1", "replace 202 1"}
	slices.Sort(got)
	if !slices.Equal(got, want) || families[0].GetName() != "shoal_pin_request_seconds" || families[1].GetName() != "shoal_pin_requests_total" {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A second service cannot have the same registry.
func TestMetricsAreTaken(t *testing.T) {
	w := open(t, newShelf(), nil)
	if _, err := service.New(service.DefaultOptions(), newShelf(), discard(), w.reg); err == nil || !strings.Contains(err.Error(), "register") {
		t.Errorf("got %v", err)
	}
	reg := prometheus.NewRegistry()
	taken := prometheus.NewGauge(prometheus.GaugeOpts{Name: "shoal_pin_request_seconds"})
	reg.MustRegister(taken)
	if _, err := service.New(service.DefaultOptions(), newShelf(), discard(), reg); err == nil {
		t.Error("New took it")
	}
}
