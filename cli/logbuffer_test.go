package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-cdn/shoal/config"
	"github.com/shoal-cdn/shoal/printable"
)

func TestLogLinesWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := newLogger(Environment{Err: &out}, config.Log{Level: "debug", Format: "text"})
		site := log.With("site", "www.example.org")
		site.Info("request", "n", 1)
		site.Info("request", "n", 2)
		if out.Len() != 0 {
			t.Errorf("request lines did not wait: %q", out.String())
		}
		log.Warn("something is wrong")
		if got := out.String(); strings.Count(got, "\n") != 3 || !strings.Contains(got, "n=1") {
			t.Errorf("a warning left others behind: %q", got)
		}
		site.Info("request", "n", 3)
		time.Sleep(2 * logDelay) // of the bubble's clock
		synctest.Wait()
		if !strings.Contains(out.String(), "n=3") {
			t.Errorf("a line waits for ever: %q", out.String())
		}
		site.Info("request", "n", 4)
		log.Info("stopped")
		site.LogAttrs(t.Context(), slog.LevelInfo, "request", slog.Int("n", 5))
		log.flush()
		if got := out.String(); strings.Count(got, "\n") != 7 || strings.Index(got, "stopped") < strings.Index(got, "n=4") {
			t.Errorf("got %q", got)
		}
		for range 1000 {
			site.Info("request", "padding", strings.Repeat("x", 100))
		}
		log.flush()
		if got := strings.Count(out.String(), "\n"); got != 1007 {
			t.Errorf("%d lines", got)
		}
	})
}

func TestLogLinesDoNothingToATerminal(t *testing.T) {
	const nasty = "a\x1b[2J\x07\nb\u009b31m\u202ec"
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		log := newLogger(Environment{Err: &out}, config.Log{Level: "info", Format: format})
		log.Warn(nasty, nasty, nasty, "list", []string{nasty}, "err", errors.New(nasty))
		log.flush()
		if bad := printable.Check(strings.TrimSuffix(out.String(), "\n")); bad != nil || out.Len() == 0 {
			t.Errorf("%s: %v", format, bad)
		}
	}
}
