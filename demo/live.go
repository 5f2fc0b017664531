package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
)

// plainEvery is how often a display that is no terminal gets a line.
const plainEvery = time.Second

// phaseTitles say what a phase shows.
var phaseTitles = map[string]string{
	"cold":       "A crowd finds the edge cold",
	"warm":       "The same crowd again",
	"origin off": "Again, with the origin switched off",
	"restarted":  "Again, after a restart of the edge",
}

// A printer shows the demo: redrawn in place on a terminal, in lines elsewhere, or
// as JSON. It is not safe for concurrent use. The first failed write is kept in
// err, and nothing is written after it.
type printer struct {
	out, live       io.Writer
	terminal, color bool
	json            bool
	width           int

	drawn int       // lines of the picture that is redrawn
	next  time.Time // when the next plain line or status is due
	err   error
}

func newPrinter(o Options) *printer {
	p := &printer{out: o.Out, live: o.Live, terminal: o.Terminal && !o.JSON, color: o.Color, json: o.JSON, width: o.Width}
	if p.live == nil {
		p.live = o.Out
	}
	if p.width < 20 {
		p.width = 80
	}
	p.await()
	return p
}

func (p *printer) write(w io.Writer, text string) {
	if p.err != nil {
		return
	}
	if _, err := io.WriteString(w, text); err != nil {
		p.err = fmt.Errorf("demo: print: %w", err)
	}
}

// event prints one JSON line.
func (p *printer) event(name string, fields any) {
	line, err := json.Marshal(struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{name, fields})
	if err != nil {
		p.err = errors.Join(p.err, fmt.Errorf("demo: print: %w", err))
		return
	}
	p.write(p.out, string(line)+"\n")
}

// await lets the first plain line come after some time: what is over sooner has its
// last one.
func (p *printer) await() {
	if p.terminal {
		p.next = time.Time{}
	} else {
		p.next = time.Now().Add(plainEvery)
	}
}

// due reports whether enough time has passed for another line.
func (p *printer) due(every time.Duration) bool {
	now := time.Now()
	if now.Before(p.next) {
		return false
	}
	p.next = now.Add(every)
	return true
}

// publishing shows how far the import is.
func (p *printer) publishing(c *content, sent int64) {
	every := plainEvery
	if p.terminal {
		every = refresh
	}
	if p.json || !p.due(every) {
		return
	}
	p.draw(line{{"Publishing " + size(sent) + " of " + size(c.bytes), bold}, {"  " + c.whole(), plain}})
}

func (p *printer) published(c *content, id string) {
	if p.json {
		p.event("published", map[string]any{"cid": id, "files": len(c.files), "bytes": c.bytes, "skipped": c.skipped, "made_up": c.madeUp})
		return
	}
	text := line{{fmt.Sprintf("Published %s, %s", count(len(c.files), "file"), size(c.bytes)), bold}, {"  " + c.whole(), plain}}
	lines := []line{text, {{"  " + id, dim}}}
	if c.skipped > 0 {
		lines = append(lines, line{{fmt.Sprintf("  left out: %s that are no regular files", count(c.skipped, "entry")), plain}})
	}
	p.settle(lines...)
}

// opening shows where the site is while the demo runs.
func (p *printer) opening(s Serving) {
	if p.json {
		p.event("serving", s)
		return
	}
	p.settle(line{{"  " + s.Site, plain}}, line{{"  " + s.CID, plain}}, line{})
}

// progress shows a phase under way.
func (p *printer) progress(r Result, visitors int) {
	switch {
	case p.json:
		if p.due(plainEvery) {
			p.event("progress", r)
		}
	case p.terminal:
		p.draw(picture(r, visitors, p.width)...)
	case p.due(plainEvery):
		p.draw(summary(r, visitors))
	}
}

// phaseDone puts a phase's last picture in place.
func (p *printer) phaseDone(r Result, visitors int) {
	switch {
	case p.json:
		p.event("phase", r)
	case p.terminal:
		p.settle(append(picture(r, visitors, p.width), line{})...)
	default:
		p.settle(summary(r, visitors))
	}
	p.await()
}

// picture is what a terminal shows of a phase.
func picture(r Result, visitors, width int) []line {
	bar := max(width-58, 0)
	lines := []line{{
		{phaseTitles[r.Phase], bold},
		{fmt.Sprintf("  %d/%d visitors, %s, %s", r.Visitors, visitors, count(r.Requests, "request"), seconds(r.Took)), plain},
	}}
	for _, place := range places {
		if place == "sibling" && r.RequestsFrom[place] == 0 && r.BytesFrom[place] == 0 {
			continue
		}
		share := 0.0
		if r.Requests > 0 {
			share = float64(r.RequestsFrom[place]) / float64(r.Requests)
		}
		l := line{
			{fmt.Sprintf("  %-7s", place), plain},
			{fmt.Sprintf(" %9s %4.0f%% ", number(r.RequestsFrom[place]), 100*share), plain},
			{blocks(share, bar), styleOf(place)},
			{fmt.Sprintf(" %9s", size(r.BytesFrom[place])), plain},
		}
		if place == "origin" {
			l = append(l, span{fmt.Sprintf("  asked %s", times(r.OriginRequests)), plain})
		}
		lines = append(lines, l)
	}
	if r.Failed > 0 {
		lines = append(lines, line{{fmt.Sprintf("  %s failed", count(r.Failed, "response")), alarm}})
	}
	return lines
}

// summary is a phase in one line.
func summary(r Result, visitors int) line {
	text := fmt.Sprintf("%s: %d/%d visitors, %s", phaseTitles[r.Phase], r.Visitors, visitors, count(r.Requests, "request"))
	for _, place := range places {
		if place != "sibling" || r.RequestsFrom[place] > 0 {
			text += fmt.Sprintf("; %s %s (%s)", place, number(r.RequestsFrom[place]), size(r.BytesFrom[place]))
		}
	}
	text += "; origin asked " + times(r.OriginRequests)
	if r.Failed > 0 {
		text += "; failed " + number(r.Failed)
	}
	return line{{text, plain}}
}

// draw replaces the picture on a terminal; elsewhere it adds the lines.
func (p *printer) draw(lines ...line) {
	var b strings.Builder
	if p.terminal {
		p.erase(&b)
		p.drawn = len(lines)
	}
	for _, l := range lines {
		b.WriteString(l.render(p))
		b.WriteByte('\n')
	}
	p.write(p.live, b.String())
}

// settle draws for the last time: what comes next is written below.
func (p *printer) settle(lines ...line) {
	p.draw(lines...)
	p.drawn = 0
}

// erase moves to where the picture began and clears from there on.
func (p *printer) erase(b *strings.Builder) {
	if p.drawn > 0 {
		fmt.Fprintf(b, "\x1b[%dA\r\x1b[J", p.drawn)
	}
}

// A line is text in several styles, without its end.
type line []span

type span struct {
	text  string
	style style
}

// A style is the parameter of an ANSI "select graphic rendition" sequence.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	green  style = "32"
	yellow style = "33"
	blue   style = "36"
	red    style = "35"
	alarm  style = "1;31"
)

func styleOf(place string) style {
	return map[string]style{"memory": green, "disk": blue, "sibling": yellow, "origin": red}[place]
}

// render returns the line as it is written. On a terminal it is cut to the width:
// a line that wraps would break the picture that is drawn over it.
func (l line) render(p *printer) string {
	var b strings.Builder
	room := p.width - 1
	for _, s := range l {
		text := s.text
		if p.terminal {
			text = cut(text, room)
			room -= utf8.RuneCountInString(text)
		}
		if p.terminal && p.color && s.style != plain && text != "" {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", s.style, text)
		} else {
			b.WriteString(text)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func cut(text string, room int) string {
	if utf8.RuneCountInString(text) <= room {
		return text
	}
	return string([]rune(text)[:max(room, 0)])
}

// blocks draws a share as a bar of width columns, to an eighth of a column.
func blocks(share float64, width int) string {
	eighths := int(share*float64(width)*8 + 0.5)
	bar := strings.Repeat("█", eighths/8)
	if eighths%8 > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[eighths%8-1])
	}
	return bar + strings.Repeat(" ", max(width-utf8.RuneCountInString(bar), 0))
}

func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func number(n int) string { return humanize.Comma(int64(n)) }

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return number(n) + " " + strings.TrimSuffix(what, "y") + "ies"
	}
	return number(n) + " " + what + "s"
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return humanize.Comma(n) + " times"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// duration writes a time with two or three digits that matter.
func duration(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}
