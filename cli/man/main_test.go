package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/cli"
)

// Every command that the help shows has a page, and the page names it.
func TestEveryCommandHasAPage(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "man1")
	if err := write(folder); err != nil {
		t.Fatal(err)
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		page, err := os.ReadFile(filepath.Join(folder, name+".1"))
		if err != nil {
			t.Error(err)
		} else if !bytes.Contains(page, []byte(strings.ReplaceAll(name, "-", `\-`))) && !bytes.Contains(page, []byte(name)) {
			t.Errorf("%s.1 does not name its command", name)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				check(sub)
			}
		}
	}
	check(cli.Root(cli.System()))
}
