package demo

import (
	"fmt"
	"strings"
)

// Serving says where to look while edges run.
type Serving struct {
	// Edge is the name of the edge.
	Edge string `json:"edge"`
	// Site and CID are the URLs of the website by its name and by its CID.
	Site string `json:"site"`
	CID  string `json:"cid_url"`
	// Admin is the edge's admin API and Origin the content on the origin itself.
	Admin  string `json:"admin"`
	Origin string `json:"origin,omitempty"`
	// Content is the CID.
	Content string `json:"cid"`
}

// table prints what the phases have come to, one column for each.
func (p *printer) table(results []Result) {
	if p.json {
		p.event("result", results)
		return
	}
	p.write(p.out, tableOf(results))
}

// A row of the table: a name and what it shows of a phase.
type row struct {
	name string
	cell func(Result) string
}

// rowsOf are the rows that every table has.
func rowsOf(results []Result, of func(place string) string) []row {
	rows := []row{
		{"", func(r Result) string { return r.Phase }},
		{"requests", func(r Result) string { return number(r.Requests) }},
	}
	for _, place := range usedPlaces(results) {
		rows = append(rows, row{"  from " + of(place), func(r Result) string { return number(r.RequestsFrom[place]) }})
	}
	rows = append(rows, row{"sent to visitors", func(r Result) string { return size(r.Bytes) }})
	for _, place := range usedPlaces(results) {
		rows = append(rows, row{"  read from " + of(place), func(r Result) string { return size(r.BytesFrom[place]) }})
	}
	return append(rows,
		row{"origin asked", func(r Result) string { return times(r.OriginRequests) }},
		row{"  bytes per request", func(r Result) string { return perRequest(r.OriginBytesPerRequest) }},
		row{"response time p50", func(r Result) string { return duration(r.P50) }},
		row{"  p99", func(r Result) string { return duration(r.P99) }},
		row{"failed or wrong", func(r Result) string { return number(r.Failed) }},
	)
}

func perRequest(bytes float64) string { return size(int64(bytes + 0.5)) }

func writeRows(b *strings.Builder, wide int, rows []row, results []Result) {
	for i, w := range rows {
		fmt.Fprintf(b, "%-*s", wide, w.name)
		for _, r := range results {
			fmt.Fprintf(b, "%13s", w.cell(r))
		}
		b.WriteByte('\n')
		if i == 0 {
			b.WriteString(strings.Repeat("─", wide+13*len(results)) + "\n")
		}
	}
}

func tableOf(results []Result) string {
	var b strings.Builder
	writeRows(&b, 20, rowsOf(results, func(place string) string { return place }), results)
	checked, cutShort := 0, false
	for _, r := range results {
		checked += r.Requests - r.Failed
		cutShort = cutShort || r.Cut
	}
	writeChecked(&b, checked, cutShort)
	return b.String()
}

func writeChecked(b *strings.Builder, checked int, cutShort bool) {
	fmt.Fprintf(b, "\n%s compared byte for byte with the source files.\n", count(checked, "response"))
	if cutShort {
		b.WriteString("A phase took too long and was cut short; its requests are fewer than the others'.\n")
	}
}

// usedPlaces leaves siblings out where there are none.
func usedPlaces(results []Result) []string {
	var used []string
	for _, place := range places {
		any := place != "sibling"
		for _, r := range results {
			any = any || r.RequestsFrom[place] > 0 || r.BytesFrom[place] > 0
		}
		if any {
			used = append(used, place)
		}
	}
	return used
}

// serving prints where to look, and how to end it.
func (p *printer) serving(all []Serving) {
	if p.json {
		for _, s := range all {
			p.event("serving", s)
		}
		return
	}
	var b strings.Builder
	b.WriteString("\nRunning until Ctrl-C. Open in a browser:\n\n")
	for _, s := range all {
		if len(all) > 1 {
			fmt.Fprintf(&b, "  %s\n", s.Edge)
		}
		fmt.Fprintf(&b, "  the site     %s\n  by its CID   %s\n  the edge     %s\n", s.Site, s.CID, s.Admin)
	}
	fmt.Fprintf(&b, "  the origin   %s\n", all[0].Origin)
	p.write(p.out, b.String())
}

// ended prints that everything is gone, and how to have it stay.
func (p *printer) ended(kept bool) {
	switch {
	case p.json:
		p.event("done", map[string]any{})
	case kept:
		p.write(p.out, "\nStopped.\n")
	default:
		p.write(p.out, "\nEverything is stopped and cleaned up. With --keep it stays, to open in a browser.\n")
	}
}
