package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// ticks is how many units of processor time in /proc make a second: it is 100 on all
// architectures that Go runs on (proc(5), USER_HZ).
const ticks = 100

// cpu returns the processor time of each edge in seconds.
func cpu(edges []*lab.Edge) ([]float64, error) {
	return each(edges, "stat", func(text string) (float64, error) {
		_, rest, _ := strings.Cut(text, ") ") // the name may have spaces
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			return 0, fmt.Errorf("unexpected %q", text)
		}
		user, err := strconv.ParseFloat(fields[11], 64)
		if err != nil {
			return 0, err
		}
		system, err := strconv.ParseFloat(fields[12], 64)
		return (user + system) / ticks, err
	})
}

// resident returns the resident memory of each edge in MiB.
func resident(edges []*lab.Edge) ([]float64, error) {
	return each(edges, "status", func(text string) (float64, error) {
		_, rest, _ := strings.Cut(text, "VmRSS:")
		fields := strings.Fields(rest)
		if len(fields) < 1 {
			return 0, fmt.Errorf("no VmRSS in %q", text)
		}
		kib, err := strconv.ParseFloat(fields[0], 64)
		return kib / 1024, err
	})
}

// each reads a number from a file in /proc for each edge.
func each(edges []*lab.Edge, file string, parse func(string) (float64, error)) ([]float64, error) {
	var list []float64
	for _, e := range edges {
		path := fmt.Sprintf("/proc/%d/%s", e.PID(), file)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		x, err := parse(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, x)
	}
	return list, nil
}
