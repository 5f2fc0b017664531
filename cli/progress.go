package cli

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"github.com/shoal-cdn/shoal/printable"
	"github.com/shoal-cdn/shoal/task"
)

// progress draws how far something has come: on a terminal, and nowhere else.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress returns a bar for total bytes (0: not known), or one that draws
// nothing.
func newProgress(env Environment, total int64, quiet bool) *progress {
	if quiet || !env.Terminal {
		return &progress{}
	}
	if total <= 0 {
		total = -1
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(env.Err),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionSetWidth(max(10, min(30, env.Width-60))),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription("adding"),
	)}
}

func (p *progress) show(done task.Progress) {
	p.at(fmt.Sprintf("%s files, %s blocks", humanize.Comma(done.Files), humanize.Comma(done.Blocks)), done.Bytes)
}

// at shows how many bytes are done, and what of.
func (p *progress) at(what string, bytes int64) {
	p.describe(what)
	if p.bar != nil {
		_ = p.bar.Set64(bytes)
	}
}

// describe changes the text.
func (p *progress) describe(what string) {
	if p.bar != nil {
		p.bar.Describe(printable.Escape(what))
	}
}

// finish clears the bar from the terminal.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
