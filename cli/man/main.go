// Command man writes the manual pages of shoal, one for each command, into a folder
// that it makes if need be:
//
//	go run ./cli/man man
//
// It is no part of the program, which does not need the library that makes them. With
// SOURCE_DATE_EPOCH set, the pages bear that date.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra/doc"

	"github.com/shoal-cdn/shoal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./cli/man FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "write the manual pages: %v\n", err)
		os.Exit(1)
	}
}

// write writes the pages into folder.
func write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	root := cli.Root(cli.System())
	root.InitDefaultCompletionCmd()
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "Shoal", Manual: "Shoal"}, folder)
}
