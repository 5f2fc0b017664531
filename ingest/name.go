package ingest

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on names, in bytes. The longest path is that of Linux (PATH_MAX); it
// bounds the depth of folders too. A name may be longer than Linux's 255, because
// other systems count characters.
const (
	maxPath = 4096
	maxName = 1024
)

// splitPath checks an entry's path and returns the names along it, none for the
// top folder itself ("./"). Doubled slashes and "." mean nothing, as everywhere.
func splitPath(path string) ([]string, error) {
	switch {
	case path == "":
		return nil, badInput("an entry has an empty name")
	case len(path) > maxPath:
		return nil, badInput("entry %s: the path has %d bytes, the limit is %d", quote(path), len(path), maxPath)
	case !utf8.ValidString(path):
		return nil, badInput("entry %s: the name is not UTF-8", quote(path))
	case strings.ContainsRune(path, 0):
		return nil, badInput("entry %s: the name has a zero byte", quote(path))
	case path[0] == '/':
		return nil, badInput("entry %s: the path is absolute; paths must be relative to the top folder", quote(path))
	}
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "" || name == ".":
		case name == "..":
			return nil, badInput("entry %s: the path leads out of the top folder (..)", quote(path))
		case len(name) > maxName:
			return nil, badInput("entry %s: a name has %d bytes, the limit is %d", quote(path), len(name), maxName)
		default:
			names = append(names, name)
		}
	}
	return names, nil
}

// quote makes a name from outside safe and short enough for an error or a log.
func quote(name string) string {
	const limit = 200
	if len(name) > limit {
		return strconv.Quote(name[:limit]) + "..."
	}
	return strconv.Quote(name)
}
