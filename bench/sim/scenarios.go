package main

import (
	"fmt"
	"math/rand/v2"
)

// scenario is one question to the simulator.
type scenario struct {
	name      string
	onRequest bool // run only if it is asked for
	run       func(Options, *report) error
}

var scenarios = []scenario{
	{name: "crowd", run: crowds},
	{name: "offload", run: offloads},
	{name: "churn", run: churns},
	{name: "balance", run: balances},
	{name: "sweep", onRequest: true, run: sweep},
}

func names() []string {
	var list []string
	for _, s := range scenarios {
		list = append(list, s.name)
	}
	return list
}

func (o Options) made(blocks int) *content {
	if o.Blocks > 0 {
		blocks = o.Blocks
	}
	return sized(blocks, int32(o.BlockSize), o.Index, rand.New(rand.NewPCG(o.Seed, 5)))
}

// crowdRequests bounds how many requests of a crowd are simulated.
const crowdRequests = 2_000_000

func crowds(o Options, r *report) error {
	t := &table{title: "A cold crowd: every edge is asked for every block", columns: []string{
		"edges", "blocks", "asked", "origin fetches / block", "messages / miss", "hedges / miss", "messages / block"}}
	for _, n := range o.Edges {
		k := o.made(max(100, min(2000, crowdRequests/n)))
		s := o.setup(n, 1, 1)
		s.Remembered = 1
		for _, inTurn := range []bool{false, true} {
			how := "at once"
			if inTurn {
				how = "in turn"
			}
			c := crowd(s, k, o.Visitors, inTurn)
			t.add(n, c.Unique, how, c.fetchesPerBlock(), c.messagesPerMiss(), ratio(c.Hedges, c.Misses), ratio(c.Messages(), c.Unique))
		}
	}
	r.print(t)
	return nil
}

// contents is the number of blocks for a fleet that is to have small caches which
// are still of more than a few blocks.
func contents(edges int) int { return max(20000, min(2000*edges, 100000)) }

func (o Options) traces(edges int) ([]*trace, error) {
	var all []*trace
	for _, path := range o.Traces {
		t, err := readTrace(path)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	if len(all) > 0 {
		return all, nil
	}
	k := o.made(contents(edges))
	for i, s := range o.Zipf {
		all = append(all, zipf(k, s, o.Requests*k.len(), rand.New(rand.NewPCG(o.Seed, 6+uint64(i)))))
	}
	return all, nil
}

// forEachTrace calls f for each number of edges, trace and capacity.
func (o Options) forEachTrace(f func(s Setup, t *trace, share float64)) error {
	for _, n := range o.Edges {
		traces, err := o.traces(n)
		if err != nil {
			return err
		}
		for _, t := range traces {
			for _, share := range o.Share {
				all := float64(t.content.bytes())
				f(o.setup(n, all*share/100, all/float64(t.content.len())), t, share)
			}
		}
	}
	return nil
}

func offloads(o Options, r *report) error {
	t := &table{title: "Offload: the share of requests that the origin was spared", columns: []string{
		"trace", "edges", "capacity %", "one LRU", "fleet", "fleet / LRU", "in bytes", "one store", "separate / LRU",
		"copying / LRU", "messages / miss", "copying, same", "distinct", "copies", "hottest edge"}}
	err := o.forEachTrace(func(s Setup, tr *trace, share float64) {
		x := offload(s, tr, o.Interval, true)
		t.add(tr.name, s.Edges, share, x.One, x.Fleet, x.ratio(), x.bytesRatio(), x.OneStore, x.Separate/x.One,
			x.Copying/x.One, ratio(x.Messages(), x.Misses), x.CopyingMessages, x.Distinct, x.CopyShare, x.Hottest)
	})
	r.print(t)
	return err
}

func churns(o Options, r *report) error {
	t := &table{title: "An edge comes or goes: then every block is asked for once more", columns: []string{
		"edges", "blocks", "an edge", "moved", "ideal", "moved / ideal", "astray", "origin fetches / block", "messages / miss"}}
	for _, n := range o.Edges {
		k := o.made(toPlace(n))
		s := o.setup(n, 1, 1)
		s.Remembered, s.Weights = 1, nil
		for _, kind := range []churnKind{joins, drains, dies} {
			if n < 2 && kind != joins {
				continue
			}
			ideal := 1 / float64(n)
			if kind == joins {
				ideal = 1 / float64(n+1)
			}
			c := churn(s, k, kind)
			moved := ratio(c.Moved, c.Unique)
			t.add(n, c.Unique, string(kind), fmt.Sprintf("%.5f", moved), fmt.Sprintf("%.5f", ideal), moved/ideal, c.Astray,
				ratio(c.Fetches, c.Unique), ratio(c.Messages(), c.Misses))
		}
	}
	r.print(t)
	return nil
}

// toPlace is how many blocks are placed on so many edges: enough for each, and not
// more lots than some seconds allow.
func toPlace(edges int) int { return max(10000, min(10000*edges, 250_000_000/edges, 200_000)) }

func balances(o Options, r *report) error {
	t := &table{title: "Blocks at home on each edge, over what its weight lets expect", columns: []string{
		"edges", "weights", "blocks", "per edge", "max / mean", "min / mean", "max / mean by chance"}}
	weights := [][]int64{nil, {1, 1, 2, 4}}
	if len(o.Weights) > 0 {
		weights[1] = o.Weights
	}
	for _, n := range o.Edges {
		k := o.made(toPlace(n))
		for _, w := range weights {
			b := balance(n, w, k, o.Seed)
			text := "equal"
			if w != nil {
				text = fmt.Sprint(w)
			}
			t.add(n, text, b.Blocks, b.Blocks/n, b.MaxMean, b.MinMean, b.Chance)
		}
	}
	r.print(t)
	return nil
}

// sweep varies what the admission can be told, one thing at a time.
func sweep(o Options, r *report) error {
	t := &table{title: "Offload of the fleet / offload of one LRU, by the settings of the admission", columns: []string{
		"trace", "edges", "capacity %", "setting", "fleet / LRU", "in bytes", "local", "sibling", "messages / request", "distinct", "copies"}}
	type variant struct {
		name string
		set  func(*Options)
	}
	variants := []variant{{"as given", func(*Options) {}}}
	for _, x := range []float64{0, 0.02, 0.05, 0.2, 0.3} {
		variants = append(variants, variant{fmt.Sprintf("hot share %.2f", x), func(o *Options) { o.HotShare = x }})
	}
	for _, x := range []float64{0, 0.05, 0.1, 0.2, 0.4} {
		variants = append(variants, variant{fmt.Sprintf("memory %.2f", x), func(o *Options) { o.Memory = x }})
	}
	for _, x := range []float64{0.1, 0.4, 10} {
		variants = append(variants, variant{fmt.Sprintf("remembered %.1f", x), func(o *Options) { o.Remembered = x }})
	}
	variants = append(variants, variant{"LRU disk", func(o *Options) { o.LRUDisk = true }})
	for _, x := range []float64{0.01, 0.05, 0.2} {
		variants = append(variants, variant{fmt.Sprintf("index blocks %.2f", x), func(o *Options) { o.Index = x }})
	}
	for _, v := range variants {
		changed := o
		v.set(&changed)
		err := changed.forEachTrace(func(s Setup, tr *trace, share float64) {
			x := offload(s, tr, o.Interval, false)
			t.add(tr.name, s.Edges, share, v.name, x.ratio(), x.bytesRatio(), ratio(x.FromMemory+x.FromDisk, x.Requests),
				ratio(x.FromSibling, x.Requests), ratio(x.Messages(), x.Requests), x.Distinct, x.CopyShare)
		})
		if err != nil {
			return err
		}
	}
	r.print(t)
	return nil
}
