package names

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/boxo/path"
)

// txtResolver asks the DNS for TXT records. It returns each record as one string,
// and for how long they hold; a negative time means that nobody said. That there
// are none is a *noRecordError.
type txtResolver interface {
	txt(ctx context.Context, fqdn string) (records []string, ttl time.Duration, err error)
}

// noRecordError is the DNS's word that a name has no such record.
type noRecordError struct {
	ttl time.Duration // for how long that holds; negative: nobody said
}

func (e *noRecordError) Error() string { return "no TXT record" }

// maxTarget is the longest path, in bytes, that a name may point to.
const maxTarget = 4 << 10

// dnslink looks up the DNSLink of a DNS name. held is the last one known, or nil.
func (n *Names) dnslink(ctx context.Context, nm name, held *answer) (*answer, error) {
	records, ttl, err := n.dns.txt(ctx, dnslinkPrefix+nm.text)
	if missing, ok := errors.AsType[*noRecordError](err); ok {
		return nil, n.noDNSLink(nm, missing.ttl, "no TXT record at "+dnslinkPrefix+nm.text)
	}
	if err != nil {
		return nil, &lookupError{
			err: &Error{Name: nm.text, Reason: ErrUnavailable, Detail: "no DNS resolver answered", Cause: err},
		}
	}
	targets := parseDNSLink(records)
	if len(targets) == 0 {
		return nil, n.noDNSLink(nm, ttl, "no TXT record at "+dnslinkPrefix+nm.text+" reads dnslink=/ipfs/... or dnslink=/ipns/...")
	}
	if len(targets) > 1 && (held == nil || held.path.String() != targets[0].String()) {
		n.log.Warn("name has several DNSLinks; the first in alphabetical order is used",
			"name", nm.text, "used", targets[0].String(), "count", len(targets))
	}
	return &answer{path: targets[0], ttl: n.clamp(ttl)}, nil
}

// noDNSLink is the error for a name whose zone says that it has no DNSLink.
func (n *Names) noDNSLink(nm name, ttl time.Duration, detail string) error {
	const least = 5 * time.Second // RFC 9520 asks not to repeat a vain question at once
	if ttl < 0 {
		ttl = negativeTTL
	}
	return &lookupError{
		err:    &Error{Name: nm.text, Reason: ErrNotFound, Detail: detail, missingDNSLink: true},
		wait:   min(max(ttl, least), negativeTTL),
		denied: true,
	}
}

// parseDNSLink returns what the TXT records of a name point to, without
// duplicates and in alphabetical order: the DNS delivers them in any order, and
// every edge should choose the same one. Records that are no DNSLink, or one for
// another system than /ipfs and /ipns, are passed over, as https://dnslink.dev
// asks.
func parseDNSLink(records []string) []path.Path {
	var targets []path.Path
	for _, r := range records {
		value, ok := strings.CutPrefix(r, "dnslink=")
		if !ok || len(value) > maxTarget {
			continue
		}
		p, err := path.NewPath(value)
		if err != nil || p.Namespace() != path.IPFSNamespace && p.Namespace() != path.IPNSNamespace {
			continue
		}
		targets = append(targets, p)
	}
	slices.SortFunc(targets, func(a, b path.Path) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(targets, func(a, b path.Path) bool { return a.String() == b.String() })
}
