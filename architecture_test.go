package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of this repository.
const module = "github.com/shoal-cdn/shoal/"

// arrows says which packages of this module the files in a folder may import,
// besides those in the same folder and below it, and the vocabulary, which is for
// everybody. A component that is not listed here may import nothing else.
var arrows = map[string][]string{
	".":      {"cli"},
	"cli":    {"config", "edge", "demo", "admin", "admin/client", "ingest"},
	"edge":   {"*"},
	"config": {"*"},
	"demo":   {"admin/client"},
}

// vocabulary are small packages of types and functions that every component may import.
var vocabulary = []string{"block", "dag", "member", "metric", "pin/record", "printable", "problem", "task", "work"}

// leaves says what the vocabulary itself may import of itself.
var leaves = map[string][]string{"dag": {"block"}, "pin/record": {"dag", "problem"}}

// Imports go one way: main, cli, edge, components, vocabulary. A component that needs another
// component's work declares an interface of its own, and edge passes it in.
func TestImportArrows(t *testing.T) {
	checked := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bench" || d.Name() == "e2e" || strings.HasPrefix(d.Name(), ".") && path != "."):
			return fs.SkipDir // they stand outside and look in
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			if target, ok := strings.CutPrefix(target, module); ok {
				checked++
				if !allowed(filepath.ToSlash(filepath.Dir(path)), target) {
					t.Errorf("%s imports %s", path, target)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 10 {
		t.Errorf("only %d imports were checked: is the module still called %s?", checked, module)
	}
}

func allowed(folder, target string) bool {
	component, _, _ := strings.Cut(folder, "/")
	if target == component || strings.HasPrefix(target, component+"/") {
		return true
	}
	if slices.Contains(vocabulary, target) {
		return !slices.Contains(vocabulary, folder) || slices.Contains(leaves[folder], target)
	}
	list := arrows[component]
	return slices.Contains(list, target) || slices.Contains(list, "*") && target != "cli" && target != "config" || component == "edge" && target == "config"
}

// A block is either hashed or read back by the block store: nobody else may take bytes for
// verified.
func TestOnlyTheBlockStoreRestoresBlocks(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		if folder := filepath.ToSlash(filepath.Dir(path)); folder == "blockstore" || folder == "block" || folder == "block/blocktest" {
			return nil
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("block.Restore(")) || bytes.Contains(text, []byte("block/blocktest")) && !strings.HasPrefix(path, "bench") {
			t.Errorf("%s takes bytes for verified that nobody hashed", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The page that a newcomer begins with names files, which must be there.
func TestTheArchitectureNamesFilesThatAreThere(t *testing.T) {
	page, err := os.ReadFile("docs/ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)*/[a-z0-9_]+\\.go)`").FindAllSubmatch(page, -1)
	if len(names) < 30 {
		t.Errorf("only %d files are named: is the page written in another way?", len(names))
	}
	for _, name := range names {
		if _, err := os.Stat(string(name[1])); err != nil {
			t.Errorf("docs/ARCHITECTURE.md names %s: %v", name[1], err)
		}
	}
}
