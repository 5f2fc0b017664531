package demo

import (
	"fmt"
	"strings"
)

// Serving says where to look while edges run.
type Serving struct {
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

func tableOf(results []Result) string {
	rows := []row{
		{"", func(r Result) string { return r.Phase }},
		{"requests", func(r Result) string { return number(r.Requests) }},
	}
	for _, place := range usedPlaces(results) {
		rows = append(rows, row{"  from " + place, func(r Result) string { return number(r.RequestsFrom[place]) }})
	}
	rows = append(rows, row{"sent to visitors", func(r Result) string { return size(r.Bytes) }})
	for _, place := range usedPlaces(results) {
		rows = append(rows, row{"  read from " + place, func(r Result) string { return size(r.BytesFrom[place]) }})
	}
	rows = append(rows,
		row{"origin asked", func(r Result) string { return times(r.OriginRequests) }},
		row{"  bytes per request", func(r Result) string { return size(int64(r.OriginBytesPerRequest + 0.5)) }},
		row{"response time p50", func(r Result) string { return duration(r.P50) }},
		row{"  p99", func(r Result) string { return duration(r.P99) }},
		row{"failed or wrong", func(r Result) string { return number(r.Failed) }},
	)
	var b strings.Builder
	for i, w := range rows {
		fmt.Fprintf(&b, "%-20s", w.name)
		for _, r := range results {
			fmt.Fprintf(&b, "%13s", w.cell(r))
		}
		b.WriteByte('\n')
		if i == 0 {
			b.WriteString(strings.Repeat("─", 20+13*len(results)) + "\n")
		}
	}
	checked, cutShort := 0, false
	for _, r := range results {
		checked += r.Requests - r.Failed
		cutShort = cutShort || r.Cut
	}
	fmt.Fprintf(&b, "\n%s compared byte for byte with the source files.\n", count(checked, "response"))
	if cutShort {
		b.WriteString("A phase took too long and was cut short; its requests are fewer than the others'.\n")
	}
	return b.String()
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
func (p *printer) serving(s Serving) {
	if p.json {
		p.event("serving", s)
		return
	}
	p.write(p.out, fmt.Sprintf("\nRunning until Ctrl-C. Open in a browser:\n\n  the site     %s\n  by its CID   %s\n  the edge     %s\n  the origin   %s\n",
		s.Site, s.CID, s.Admin, s.Origin))
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
