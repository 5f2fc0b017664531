package names

import (
	"fmt"
	"strings"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/go-cid"
)

// kind says how a name is looked up.
type kind string

const (
	kindDNSLink kind = "dnslink"
	kindIPNS    kind = "ipns"
)

// name is what stands after /ipns/ in a path, in its one canonical spelling.
type name struct {
	kind kind
	text string    // FQDN in lower case without the last dot, or base36 CID
	ipns ipns.Name // for kindIPNS
}

// Limits on the spelling of names, in bytes. Keys in use today take up to 62;
// a longer one could only be an inlined key of a kind that nobody signs with.
const (
	maxIPNSName   = 128
	maxDNSName    = 253 // with the _dnslink label before it
	maxLabel      = 63
	dnslinkPrefix = "_dnslink."
)

// parseName reads what stands after /ipns/.
func parseName(s string) (name, error) {
	if strings.Contains(s, ".") { // no spelling of a key does
		return dnsName(s)
	}
	n, err := ipns.NameFromString(s)
	if err == nil {
		return ipnsName(n)
	}
	// The commonest mistake: a key under the codec of something else.
	if c, err := cid.Decode(s); err == nil && c.Version() == 1 && c.Type() != cid.Libp2pKey && len(s) <= maxIPNSName {
		return name{}, badName(s, "an IPNS name is a CID with the codec libp2p-key: try "+cid.NewCidV1(cid.Libp2pKey, c.Hash()).String())
	}
	return dnsName(s)
}

func ipnsName(n ipns.Name) (name, error) {
	if !n.Cid().Defined() {
		return name{}, badName("", "the IPNS name is empty")
	}
	text := n.String()
	if len(text) > maxIPNSName {
		return name{}, badName(text, fmt.Sprintf("an IPNS name has at most %d characters", maxIPNSName))
	}
	return name{kind: kindIPNS, text: text, ipns: n}, nil
}

// dnsName checks a name for DNSLink. It takes letters of any script as they are:
// whoever asks with an internationalised name converts it.
func dnsName(s string) (name, error) {
	fqdn := lowerASCII(strings.TrimSuffix(s, "."))
	switch {
	case len(dnslinkPrefix)+len(fqdn) > maxDNSName:
		return name{}, badName(s, fmt.Sprintf("a DNS name for DNSLink has at most %d characters", maxDNSName-len(dnslinkPrefix)))
	case !strings.Contains(fqdn, "."):
		return name{}, badName(s, "neither a public key nor a DNS name of two labels or more")
	}
	last := ""
	for l := range strings.SplitSeq(fqdn, ".") {
		if l == "" || len(l) > maxLabel || strings.ContainsFunc(l, notInLabel) {
			return name{}, badName(s, fmt.Sprintf("the label %.80q is not one of a DNS name", l))
		}
		last = l
	}
	switch {
	case strings.Trim(last, "0123456789") == "":
		return name{}, badName(s, "an IP address has no DNSLink")
	case last == "localhost", last == "invalid", last == "onion":
		return name{}, badName(s, "names under "+last+" are not looked up in the DNS")
	}
	return name{kind: kindDNSLink, text: fqdn}, nil
}

// notInLabel holds for what would not survive the DNS library's text form of
// names, in which a backslash escapes and a dot separates.
func notInLabel(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
		return false
	}
	return r < 0x80 || r == '\uFFFD'
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func badName(s, detail string) error {
	if len(s) > 100 {
		s = s[:100] + "..."
	}
	return &Error{Name: s, Reason: ErrBadName, Detail: detail}
}
