//go:build e2e

package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// Three zones of two edges. Each block is fetched from the origin once and crosses into a
// zone once or twice; then nothing crosses for visitors any more. A zone that is cut off
// goes on, and so do the others.
func TestZones(t *testing.T) {
	const zones, each, files, size = 3, 2, 300, 16 << 10
	z, err := lab.NewZones(zones, time.Millisecond)
	if errors.Is(err, lab.ErrNoNamespaces) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(z.Close)
	r := &rig{t: t, site: lab.NewShelf(11, files, size)}
	if r.origin, err = lab.NewOrigin("0.0.0.0:0", r.site); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.origin.Close)
	// The memory is too small for the site, the disks of a zone are not.
	if r.Fleet, err = lab.NewFleet(inTime(t), binary, t.TempDir(), "", "cache.memory=1MiB", "cache.disk=64MiB"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	for i := range zones * each {
		if _, err := r.AddIn(inTime(t), z, i%zones, r.origin.Port(), true); err != nil {
			t.Fatal(err)
		}
	}
	r.settled(r.Edges...)

	r.crowd(r.Edges...)
	r.askedAtMost(1.02)
	r.crowd(r.Edges...)
	r.crowd(r.Edges...)
	before := r.crossed()
	r.crowd(r.Edges...)
	if ratio := (r.crossed() - before) / float64(files*size*zones*each); ratio > 0.05 {
		t.Errorf("%.3f of what visitors got crossed zones", ratio)
	} else {
		t.Logf("%.3f of what visitors got crossed zones", ratio)
	}

	z.Cut(zones-1, true)
	r.crowd(r.Edges...)
	var inside, outside []*lab.Edge
	for i, e := range r.Edges {
		if i%zones == zones-1 {
			inside = append(inside, e)
		} else {
			outside = append(outside, e)
		}
	}
	r.settled(inside...)
	r.settled(outside...)
	r.crowd(r.Edges...)
	z.Cut(zones-1, false)
	r.crowd(r.Edges...)
	r.settled(r.Edges...)
	r.crowd(r.Edges...)
}

// crossed returns the bytes of blocks that came from other zones.
func (r *rig) crossed() (sum float64) {
	r.t.Helper()
	for _, e := range r.Edges {
		n, err := e.Metric(inTime(r.t), "shoal_swarm_zone_bytes_total", "scope", "remote")
		if err != nil {
			r.t.Fatal(err)
		}
		sum += n
	}
	return sum
}
