package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// report prints what was found: tables in Markdown, or lines of JSON.
type report struct {
	out  io.Writer
	json bool
	err  error // the first failure to print
}

// table is rows that belong together.
type table struct {
	title   string
	columns []string
	rows    [][]any
}

func (t *table) add(values ...any) { t.rows = append(t.rows, values) }

func (r *report) print(t *table) {
	if r.json {
		r.printJSON(t)
		return
	}
	width := make([]int, len(t.columns))
	lines := [][]string{t.columns}
	for _, row := range t.rows {
		var line []string
		for _, v := range row {
			line = append(line, text(v))
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	r.printf("%s\n\n", t.title)
	for i, line := range lines {
		for k, cell := range line {
			r.printf("| %*s ", width[k], cell)
		}
		r.printf("|\n")
		if i == 0 {
			for k := range line {
				r.printf("|%s:", strings.Repeat("-", width[k]+1))
			}
			r.printf("|\n")
		}
	}
	r.printf("\n")
}

func (r *report) printJSON(t *table) {
	for _, row := range t.rows {
		object := map[string]any{"table": t.title}
		for i, v := range row {
			object[t.columns[i]] = v
		}
		line, err := json.Marshal(object)
		if err != nil && r.err == nil {
			r.err = err
		}
		r.printf("%s\n", line)
	}
}

func (r *report) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(r.out, format, args...); err != nil && r.err == nil {
		r.err = err
	}
}

func text(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%.3f", f)
	}
	return fmt.Sprint(v)
}
