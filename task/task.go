// Package task says what an operator has an edge do besides serving and pinning, and what
// came of it: imports, purges and reloads. Its JSON is the admin API's.
package task

import (
	"fmt"
	"strings"

	"github.com/ipfs/go-cid"
)

// Import says what to do with one import.
type Import struct {
	// Pin has the fleet keep the content: it is never evicted until it is unpinned.
	// Without it the blocks are cached like any others.
	Pin bool
	// Name is a label for people, of the pin and in the log.
	Name string
	// Wrap puts what would be the root into a folder under its own name, so that
	// a single file keeps its name. It has no meaning for a CAR.
	Wrap bool
}

// Progress counts what one import has taken in so far.
type Progress struct {
	Bytes  int64 `json:"bytes"`  // of file content; of block data for a CAR
	Files  int64 `json:"files"`  // completed files and symlinks; 0 for a CAR
	Blocks int64 `json:"blocks"` // handed to the store; content that repeats is counted again
}

// Imported is a complete import.
type Imported struct {
	Progress
	CID   cid.Cid   // the root; the first one of a CAR that has several
	Roots []cid.Cid // all roots, at least one
	Pins  []string  // IDs of the pins that were made of them
}

// Purged says what a purge did on one edge.
type Purged struct {
	Removed int64 `json:"removed"` // blocks
	Bytes   int64 `json:"bytes"`   // of them
	Kept    int64 `json:"kept"`    // blocks that stay, because something else still holds them
}

// SiblingPurge says what a purge did on another edge.
type SiblingPurge struct {
	Edge string `json:"edge"`
	Purged
	Error string `json:"error,omitempty"`
}

// PurgeResult is what became of a purge.
type PurgeResult struct {
	CID string `json:"cid"` // what the path names; empty if it leads nowhere
	Purged
	// Fleet says how the siblings fared, if they were asked.
	Fleet []SiblingPurge `json:"fleet,omitempty"`
}

// Reloaded says which settings a reload has put in force, and which were changed and
// need a restart.
type Reloaded struct {
	Changed      []Change `json:"changed"`
	NeedsRestart []Change `json:"needs_restart"`
}

// Change is a setting that is another one than before. A single value has From and To; a
// list has the entries that went and came, or none when only their order changed. Secrets
// are masked.
type Change struct {
	Key     string   `json:"key"` // such as gateway.max_requests
	From    string   `json:"from,omitempty"`
	To      string   `json:"to,omitempty"`
	Removed []string `json:"removed,omitempty"`
	Added   []string `json:"added,omitempty"`
}

// String returns the change on one line.
func (c Change) String() string {
	switch {
	case len(c.Added)+len(c.Removed) > 0:
		var parts []string
		for _, s := range c.Removed {
			parts = append(parts, "-"+s)
		}
		for _, s := range c.Added {
			parts = append(parts, "+"+s)
		}
		return c.Key + ": " + strings.Join(parts, " ")
	case c.From == c.To:
		return c.Key + ": changed"
	}
	return fmt.Sprintf("%s: %s -> %s", c.Key, orNone(c.From), orNone(c.To))
}

func orNone(s string) string {
	if s == "" {
		return `""`
	}
	return s
}

// Keys returns which settings have changed.
func Keys(changes []Change) []string {
	keys := make([]string, len(changes))
	for i, c := range changes {
		keys[i] = c.Key
	}
	return keys
}
