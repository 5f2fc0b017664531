package cache

import "github.com/prometheus/client_golang/prometheus"

// sums is what all shards hold together, read one shard at a time.
type sums struct {
	bytes   int64
	entries int
	evicted uint64
}

func (c *Cache) sum() (t sums) {
	for _, sh := range c.shards {
		sh.mu.Lock()
		t.bytes += sh.bytes
		t.entries += sh.lru.Len() + len(sh.held)
		t.evicted += sh.evicted
		sh.mu.Unlock()
	}
	return t
}

// register adds the metrics to reg, all or none, and returns what withdraws them.
// They are read when they are scraped: a hit counts nothing.
func (c *Cache) register(reg prometheus.Registerer) (unregister func(), err error) {
	if reg == nil {
		return func() {}, nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	counter := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, f)
	}
	all := []prometheus.Collector{
		gauge("shoal_cache_bytes", "Memory held by cached blocks, their overhead included.",
			func() float64 { return float64(c.sum().bytes) }),
		gauge("shoal_cache_capacity_bytes", "Memory that cached blocks may hold.",
			func() float64 { return float64(c.Capacity()) }),
		gauge("shoal_cache_entries", "Blocks in memory.",
			func() float64 { return float64(c.sum().entries) }),
		counter("shoal_cache_evictions_total", "Blocks that made room for others.",
			func() float64 { return float64(c.sum().evicted) }),
		counter("shoal_cache_joined_total", "Requests that shared a fetch which another request had started.",
			func() float64 { return float64(c.joined.Load()) }),
		counter("shoal_cache_restored_total", "Blocks in use that the disk had let go of and that were written to it again from memory.",
			func() float64 { return float64(c.restored.Load()) }),
	}
	unregister = func() {
		for _, m := range all {
			reg.Unregister(m)
		}
	}
	for i, m := range all {
		if err := reg.Register(m); err != nil {
			all = all[:i] // withdraw our own only, not the one that was there before
			unregister()
			return nil, err
		}
	}
	return unregister, nil
}
