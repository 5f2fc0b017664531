package record

import (
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/text/cases"
)

// Match says how a name is compared: parameter "match" of the API.
type Match string

// The ways to compare a name.
const (
	Exact    Match = "exact"
	IExact   Match = "iexact"   // whatever the case
	Partial  Match = "partial"  // anywhere in the name
	IPartial Match = "ipartial" // anywhere in the name, whatever the case
)

// Query selects pins. All that is given must match; the zero value selects all.
type Query struct {
	CIDs     []cid.Cid // any of them
	Name     string
	Match    Match // of Name; empty is Exact
	Statuses []Status
	Before   time.Time         // created before, exclusive
	After    time.Time         // created after, exclusive
	Meta     map[string]string // each of these keys has this value
	Limit    int               // at most so many; 0 for no bound
}

// Matcher returns a function that reports whether a pin is selected, but for its
// status. CIDs of both versions match each other if they name the same content.
func (q Query) Matcher() func(*Pin) bool {
	fold := cases.Fold()
	name := q.Name
	if q.Match == IExact || q.Match == IPartial {
		name = fold.String(name)
	}
	hashes := make(map[string]bool, len(q.CIDs))
	for _, c := range q.CIDs {
		hashes[identity(c)] = true
	}
	return func(p *Pin) bool {
		switch {
		case len(hashes) > 0 && !hashes[identity(p.CID)],
			!q.Before.IsZero() && !p.Created.Before(q.Before),
			!q.After.IsZero() && !p.Created.After(q.After):
			return false
		}
		for k, v := range q.Meta {
			if have, ok := p.Meta[k]; !ok || have != v {
				return false
			}
		}
		if q.Name == "" {
			return true
		}
		switch q.Match {
		case IExact:
			return fold.String(p.Name) == name
		case Partial:
			return strings.Contains(p.Name, name)
		case IPartial:
			return strings.Contains(fold.String(p.Name), name)
		}
		return p.Name == name
	}
}

// HasStatus reports whether a status is selected.
func (q Query) HasStatus(s Status) bool {
	return len(q.Statuses) == 0 || slices.Contains(q.Statuses, s)
}

// identity is the same for the CIDv0 and the CIDv1 of the same content.
func identity(c cid.Cid) string {
	return string(rune(c.Type())) + string(c.Hash())
}
