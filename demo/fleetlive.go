package demo

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
)

// fleets says what the phases have in common.
func (p *printer) fleets(s *show) {
	if p.json {
		p.event("fleets", map[string]any{
			"edges": s.Edges, "requests": s.Requests, "clients": s.Clients, "zipf": zipf, "memory": s.Memory, "disk": s.Disk,
		})
		return
	}
	p.settle(
		line{{fmt.Sprintf("  Each edge has %s of memory and %s of disk for it.", capacity(s.Memory), capacity(s.Disk)), plain}},
		line{{fmt.Sprintf("  The same %s (Zipf %.1f) come to each fleet, after as many", count(s.Requests, "request"), zipf), plain}},
		line{{"  that fill its caches and are not counted.", plain}},
		line{},
		line{{"Sent by the origin", bold}, {", of all that visitors were sent", plain}},
	)
}

func capacity(n int64) string { return humanize.IBytes(uint64(n)) }

// gathering shows that a fleet is being started.
func (p *printer) gathering(edges int) {
	if p.terminal {
		p.draw(line{{fmt.Sprintf("  %-9s", edgesText(edges)), bold}, {" starting", dim}})
	}
}

// filling shows how far the caches of a fleet are filled.
func (p *printer) filling(edges int, r Result, requests int) {
	text := fmt.Sprintf(" filling the caches: %s of %s", number(r.Requests), count(requests, "request"))
	switch {
	case p.json && p.due(plainEvery):
		p.event("filling", FleetResult{Edges: edges, Result: r})
	case !p.json && (p.terminal || p.due(plainEvery)):
		p.draw(line{{fmt.Sprintf("  %-9s", edgesText(edges)), bold}, {text, dim}})
	}
}

// fleetProgress shows a fleet under way.
func (p *printer) fleetProgress(edges int, r Result, requests int) {
	switch {
	case p.json:
		if p.due(plainEvery) {
			p.event("progress", FleetResult{Edges: edges, Result: r})
		}
	case p.terminal:
		p.draw(append([]line{originLoad(edges, r, p.width)}, placesOf(r, requests, p.width)...)...)
	case p.due(plainEvery):
		p.draw(append(originLoad(edges, r, p.width), span{fmt.Sprintf("  after %s of %s requests", number(r.Requests), number(requests)), plain}))
	}
}

// fleetDone leaves one line of a fleet.
func (p *printer) fleetDone(r FleetResult) {
	if p.json {
		p.event("fleet", r)
		return
	}
	p.settle(append(originLoad(r.Edges, r.Result, p.width),
		span{fmt.Sprintf("  ideal %s, alone %s", perRequest(r.Ideal), perRequest(r.Separate)), dim}))
	p.await()
}

// originLoad is the line of a fleet: what share of all bytes the origin sent.
func originLoad(edges int, r Result, width int) line {
	share := 0.0
	if r.Bytes > 0 {
		share = float64(r.BytesFrom["origin"]) / float64(r.Bytes)
	}
	return line{
		{fmt.Sprintf("  %-9s", edgesText(edges)), bold},
		{blocks(min(share, 1), max(width-70, 10)), styleOf("origin")},
		{fmt.Sprintf(" %3.0f%%  %7s a request", 100*share, perRequest(r.OriginBytesPerRequest)), plain},
	}
}

// placesOf are the lines of a fleet under way that say where answers came from.
func placesOf(r Result, requests, width int) []line {
	lines := []line{{{fmt.Sprintf("  %s of %s, %s", number(r.Requests), count(requests, "request"), seconds(r.Took)), dim}}}
	for _, place := range places {
		share := 0.0
		if r.Requests > 0 {
			share = float64(r.RequestsFrom[place]) / float64(r.Requests)
		}
		lines = append(lines, line{
			{fmt.Sprintf("    %-7s", place), plain},
			{fmt.Sprintf(" %9s %4.0f%% ", number(r.RequestsFrom[place]), 100*share), plain},
			{blocks(share, max(width-48, 0)), styleOf(place)},
			{fmt.Sprintf(" %9s", size(r.BytesFrom[place])), plain},
		})
	}
	if r.Failed > 0 {
		lines = append(lines, line{{fmt.Sprintf("    %s failed", count(r.Failed, "response")), alarm}})
	}
	return lines
}

// fault says what goes wrong next.
func (p *printer) fault(fault, edge string) {
	if p.json {
		return
	}
	text := "The origin is switched off"
	if fault == "edge stopped" {
		text = "Another crowd comes, and halfway " + edge + " is stopped"
	} else {
		p.settle(line{{"  " + edge + " is back", dim}})
	}
	p.settle(line{}, line{{text, bold}})
}

func (p *printer) faultProgress(r FaultResult, done, requests int) {
	switch {
	case p.json:
		if p.due(plainEvery) {
			p.event("progress", map[string]any{"fault": r.Fault, "requests": done})
		}
	case p.terminal || p.due(plainEvery):
		p.draw(line{{fmt.Sprintf("  %s of %s", number(done), count(requests, "request")), dim}})
	}
}

func (p *printer) faultDone(r FaultResult) {
	if p.json {
		p.event("fault", r)
		return
	}
	style := plain
	if r.Failed > 0 {
		style = alarm
	}
	p.settle(line{{"  " + strings.TrimSuffix(outcomeOf(r), "."), style}})
	p.await()
}

// outcomeOf is what became of a fault, in one sentence.
func outcomeOf(r FaultResult) string {
	text := fmt.Sprintf("%s of %s served", number(r.Served), number(r.Requests))
	if r.Moved > 0 {
		text += fmt.Sprintf(", %s by another edge", number(r.Moved))
	}
	if r.Again > 0 {
		text += fmt.Sprintf(", %s at the second attempt", number(r.Again))
	}
	if r.Fault == "origin off" {
		text += fmt.Sprintf("; %s for what no edge held", number(r.NotHeld))
	}
	return text + fmt.Sprintf("; %s failed; p99 %s.", number(r.Failed), duration(r.P99))
}

// fleetTable prints what the fleets have come to, one column for each.
func (p *printer) fleetTable(results []FleetResult, faults []FaultResult) {
	if p.json {
		p.event("result", map[string]any{"fleets": results, "faults": faults})
		return
	}
	p.write(p.out, "\n"+fleetTableOf(results, faults))
}

// fleetRows are the rows of a fleet's table, and what its columns show.
func fleetRows(fleets []FleetResult) (rows []row, columns []Result) {
	lines := map[string]Lines{}
	for _, f := range fleets {
		lines[f.Phase] = f.Lines
		columns = append(columns, f.Result)
	}
	for _, w := range rowsOf(columns, articled) {
		rows = append(rows, w)
		if w.name == "  bytes per request" {
			rows = append(rows,
				row{"  one ideal cache", func(r Result) string { return perRequest(lines[r.Phase].Ideal) }},
				row{"  separate caches", func(r Result) string { return perRequest(lines[r.Phase].Separate) }},
				row{"  saved, of the ideal", func(r Result) string { return percent(lines[r.Phase].saved(r)) }})
		}
	}
	return rows, columns
}

func fleetTableOf(fleets []FleetResult, faults []FaultResult) string {
	var b strings.Builder
	rows, columns := fleetRows(fleets)
	writeRows(&b, 24, rows, columns)
	b.WriteString("\nOne ideal cache, of the summed size, and separate caches are computed: the same\nrequests were replayed through LRU caches. Saved is what the origin did not have\nto send. What filled the caches is not counted.\n")
	checked, cutShort := 0, false
	for _, f := range fleets {
		checked += f.Filling + f.Requests - f.Failed
		cutShort = cutShort || f.Cut
	}
	if len(faults) > 0 {
		b.WriteByte('\n')
	}
	for _, r := range faults {
		fmt.Fprintf(&b, "%s: %s\n", faultTitle(r), outcomeOf(r))
		checked += r.Served
		cutShort = cutShort || r.Cut
	}
	writeChecked(&b, checked, cutShort)
	return b.String()
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

// faultTitle says what went wrong, and with how much left.
func faultTitle(r FaultResult) string {
	if r.Edge != "" {
		return r.Edge + " stopped halfway"
	}
	return "Origin switched off"
}

// articled names a place in a sentence.
func articled(place string) string {
	switch place {
	case "sibling":
		return "a sibling"
	case "origin":
		return "the origin"
	}
	return place
}

// charted says where the chart is.
func (p *printer) charted(file string) {
	if p.json {
		p.event("chart", map[string]any{"file": file})
		return
	}
	p.write(p.out, "\nChart: "+file+"\n")
}
