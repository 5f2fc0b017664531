package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"time"

	"github.com/shoal-cdn/shoal/printable"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Content types of an import's body.
const (
	TypeTar       = "application/x-tar"
	TypeCAR       = "application/vnd.ipld.car"
	TypeMultipart = "multipart/form-data"
)

// maxNameLength is the longest name of a pin or an import, in bytes.
const maxNameLength = 255

func checkName(name string) error {
	if len(name) > maxNameLength {
		return badRequest("name has %d bytes, the limit is %d", len(name), maxNameLength)
	}
	if err := printable.Check(name); err != nil {
		return badRequest("name: %v", err)
	}
	return nil
}

func (a *Admin) add(w http.ResponseWriter, r *http.Request) {
	params, quiet, err := addParams(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	load, err := a.loader(r)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		w.Header().Set("Retry-After", "5")
		writeError(w, problem.Busy, fmt.Sprintf("%d imports are under way, which is the limit; try again later", a.opts.MaxImports))
		return
	}

	out := &lineWriter{w: w, control: http.NewResponseController(w), stall: a.opts.StallTimeout, every: a.opts.ProgressInterval, last: time.Now()}
	// Progress is written while the body still comes. HTTP/2 can always do that.
	_ = out.control.EnableFullDuplex()
	body := &stallReader{r: r.Body, control: out.control, stall: a.opts.StallTimeout}
	report := out.progress
	if quiet {
		report = func(task.Progress) {}
	}
	done, err := load(r.Context(), body, params, report)
	if err != nil {
		a.failAdd(out, r, err)
		out.linger(r.Body)
		return
	}
	result := AddResult{CID: done.CID.String(), Name: params.Name, Pinned: params.Pin, Pins: done.Pins, Bytes: done.Bytes, Blocks: done.Blocks, Files: done.Files, URL: a.deps.URL(done.CID)}
	if len(done.Roots) > 1 {
		for _, root := range done.Roots {
			result.Roots = append(result.Roots, root.String())
		}
	}
	out.line(AddLine{AddResult: &result})
}

// addParams reads the query, and whether progress lines are unwanted.
func addParams(r *http.Request) (p task.Import, quiet bool, err error) {
	q, err := parseQuery(r, "name", "pin", "wrap", "progress")
	if err != nil {
		return p, false, err
	}
	p.Name = q.Get("name")
	if err := checkName(p.Name); err != nil {
		return p, false, err
	}
	var progress bool
	for _, f := range []struct {
		name      string
		to        *bool
		otherwise bool
	}{{"pin", &p.Pin, true}, {"wrap", &p.Wrap, false}, {"progress", &progress, true}} {
		if *f.to, err = q.flag(f.name, f.otherwise); err != nil {
			return p, false, err
		}
	}
	return p, !progress, nil
}

type loadFunc func(ctx context.Context, body io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error)

// loader chooses how to read the body by its type. What curl calls a body that it
// was given no type for is taken as a tar archive, so that `tar c . | curl
// --data-binary @- ...` works.
func (a *Admin) loader(r *http.Request) (loadFunc, error) {
	header := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(header)
	if header != "" && err != nil {
		return nil, problem.Errorf(problem.Unsupported, "Content-Type %q cannot be read", clip(header))
	}
	switch media {
	case TypeTar, "application/tar", "application/octet-stream", "application/x-www-form-urlencoded", "":
		return a.deps.Import.Tar, nil
	case TypeCAR:
		return a.deps.Import.CAR, nil
	case TypeMultipart:
		boundary := params["boundary"]
		if boundary == "" {
			return nil, badRequest("Content-Type %s has no boundary", TypeMultipart)
		}
		return func(ctx context.Context, body io.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
			return a.deps.Import.Multipart(ctx, multipart.NewReader(body, boundary), p, progress)
		}, nil
	}
	return nil, problem.Errorf(problem.Unsupported, "Content-Type %q, expected %s, %s or %s", clip(header), TypeTar, TypeMultipart, TypeCAR)
}

// failAdd answers with a status, or with a line when the answer has begun.
func (a *Admin) failAdd(out *lineWriter, r *http.Request, err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("nothing was sent for %s: %w", a.opts.StallTimeout, err)
	}
	if cause := context.Cause(r.Context()); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	if !out.begun {
		// The rest of the body is not read; a client must not send another
		// request after it.
		out.w.Header().Set("Connection", "close")
		a.fail(out.w, r, err)
		return
	}
	out.line(AddLine{Error: bodyOf(err)})
}

// lineWriter writes JSON lines and sends each at once.
type lineWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	every   time.Duration
	last    time.Time
	begun   bool
}

func (l *lineWriter) progress(p task.Progress) {
	if time.Since(l.last) < l.every {
		return
	}
	l.line(AddLine{Progress: &p})
	l.last = time.Now()
}

func (l *lineWriter) line(line AddLine) {
	// A recorder in a test has no deadlines, and needs none. A client that does
	// not read any more shows by not sending any more.
	_ = l.control.SetWriteDeadline(time.Now().Add(l.stall))
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(line)
	_ = l.control.Flush()
}

// linger is how long the rest of a refused body is read and dropped.
const linger = 3 * time.Second

// linger waits for a sender to read the answer and to stop. Closing the connection
// under one that is still sending makes its system drop the answer unread.
func (l *lineWriter) linger(body io.Reader) {
	_ = l.control.Flush()
	if l.control.SetReadDeadline(time.Now().Add(linger)) == nil {
		_, _ = io.Copy(io.Discard, body)
	}
}

// stallReader gives each stretch of a body its own time limit, so that a long
// import is not cut off and a dead sender does not hold it forever.
type stallReader struct {
	r       io.Reader
	control *http.ResponseController
	stall   time.Duration
	set     time.Time // when the deadline was last moved
}

func (s *stallReader) Read(p []byte) (int, error) {
	// Moving the deadline costs as much as a small read, so it is not done for each.
	if now := time.Now(); now.Sub(s.set) > s.stall/10 {
		_ = s.control.SetReadDeadline(now.Add(s.stall))
		s.set = now
	}
	return s.r.Read(p)
}
