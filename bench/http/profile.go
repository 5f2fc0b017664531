package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// profile has the edge write down where its processor time goes while a case is
// measured, if that was asked for. The function returned waits until it is done.
func (b *bench) profile(ctx context.Context, c benchCase, edge *server) func() {
	if b.Profile == "" {
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		seconds := max(1, int(b.Round.Seconds()*float64(b.Rounds)))
		if err := edge.profile(ctx, seconds, filepath.Join(b.Profile, strings.NewReplacer(" ", "-", ",", "").Replace(c.name)+".pprof")); err != nil {
			fmt.Fprintf(os.Stderr, "bench/http: profile of %s: %v\n", c.name, err)
		}
	}()
	return func() { <-done }
}

func (s *server) profile(ctx context.Context, seconds int, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.admin, seconds), nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", req.URL, res.Status)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, res.Body); err != nil {
		return err
	}
	return f.Close()
}
