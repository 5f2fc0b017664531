package metric

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func counter(name string) prometheus.Collector {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name})
}

func families(t *testing.T, reg *prometheus.Registry) int {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestAllOrNone(t *testing.T) {
	reg := prometheus.NewRegistry()
	unregister, err := Register(reg, counter("a"), counter("b"))
	if err != nil || families(t, reg) != 2 {
		t.Fatalf("%d metrics, %v", families(t, reg), err)
	}
	back, err := Register(reg, counter("c"), counter("b"), counter("d"))
	if err == nil || families(t, reg) != 2 {
		t.Errorf("one that is there already: %d metrics, %v", families(t, reg), err)
	}
	back()
	if families(t, reg) != 2 {
		t.Error("what failed takes back what others registered")
	}
	unregister()
	if families(t, reg) != 0 {
		t.Error("some stayed")
	}
	if _, err := Register(reg, counter("a")); err != nil {
		t.Errorf("the name is not free again: %v", err)
	}
}

func TestWithoutARegistry(t *testing.T) {
	unregister, err := Register(nil, counter("a"))
	if err != nil {
		t.Fatal(err)
	}
	unregister()
}
