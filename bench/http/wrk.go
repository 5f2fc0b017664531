package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// wrkScript has wrk say what it saw in one line that is made for programs.
const wrkScript = `done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("seen %d %d %d %d %d %d %d\n", summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.timeout, e.status, latency:percentile(50), latency:percentile(99)))
end
`

func (b *bench) writeWrkScript() error {
	b.wrkScript = filepath.Join(b.dir, "seen.lua")
	return os.WriteFile(b.wrkScript, []byte(wrkScript), 0o644)
}

// runWrk measures one server for one round.
func (b *bench) runWrk(ctx context.Context, s *server, c benchCase) (round, error) {
	host, path := c.target(s)
	seconds := max(1, int((b.Round + time.Second - 1).Seconds()))
	args := []string{"-t1", "-c" + strconv.Itoa(b.requests(s, c).connections), "-d" + strconv.Itoa(seconds) + "s",
		"--timeout", "30s", "-s", b.wrkScript, "-H", "Host: " + host}
	for _, f := range c.fields(s.etag) {
		args = append(args, "-H", f)
	}
	cpu := s.cpu()
	out, err := exec.CommandContext(ctx, b.wrk, append(args, "http://"+s.addr+path)...).CombinedOutput()
	used := s.cpu() - cpu
	if err != nil {
		return round{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	r, err := readWrk(out, c, s.length)
	if err != nil {
		return round{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	r.cpu = time.Duration(float64(used) / (r.perSecond * r.wall.Seconds()))
	return r, nil
}

// readWrk reads the line of wrkScript. Bodies of the wrong length would show in the
// bytes that wrk counted, heads included.
func readWrk(out []byte, c benchCase, length int64) (round, error) {
	_, line, found := bytes.Cut(out, []byte("seen "))
	var requests, us, total, broken, refused, p50, p99 int64
	if _, err := fmt.Sscan(string(line), &requests, &us, &total, &broken, &refused, &p50, &p99); err != nil || !found {
		return round{}, fmt.Errorf("its result is not to be understood: %w", err)
	}
	const head = 2 << 10 // more than any head has
	switch {
	case broken > 0 || refused > 0:
		return round{}, fmt.Errorf("%d connections failed, %d answers were errors", broken, refused)
	case requests == 0 || us == 0:
		return round{}, fmt.Errorf("nothing was answered")
	case c.revalidate && (length <= head || total > requests*head), !c.revalidate && total < requests*length:
		return round{}, fmt.Errorf("%d answers have %d bytes in all: bodies of %d bytes were expected", requests, total, length)
	}
	wall := time.Duration(us) * time.Microsecond
	r := round{
		perSecond: float64(requests) / wall.Seconds(), wall: wall,
		p50: time.Duration(p50) * time.Microsecond, p99: time.Duration(p99) * time.Microsecond,
	}
	switch {
	case c.few: // wrk counts the bytes of the answers under way, too
		r.bytes = float64(total) / wall.Seconds()
		r.perSecond = r.bytes / float64(length)
	case !c.revalidate:
		r.bytes = r.perSecond * float64(length)
	}
	return r, nil
}
