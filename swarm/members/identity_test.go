package members

import (
	"encoding/base64"
	"strings"
	"testing"
)

// Two edges can only agree about who a name is if nobody ever changes this.
func TestIdentityFollowsTheContract(t *testing.T) {
	for name, want := range map[string]string{
		"edge-1": "12D3KooWQt8JkxifwgoeSMPj2nUZnGqzc4PqKhZKddNzTT8oLFtY",
		"edge-2": "12D3KooWJvg5iEtNFhqZbfHSSURhHbNBkCrMeeqaxte9oj1pFm6P",
	} {
		id, err := PeerID("0123456789abcdef0123456789abcdef", name)
		if err != nil || id.String() != want {
			t.Errorf("%s: got %s, %v; want %s", name, id, err, want)
		}
	}
	a, _ := PeerID("0123456789abcdef0123456789abcdef", "edge-1")
	b, _ := PeerID("0123456789abcdef0123456789abcdeF", "edge-1")
	if a == b {
		t.Error("another secret gives the same identity")
	}
}

func TestNewSecretIsLongAndNew(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	raw, err := base64.RawURLEncoding.DecodeString(a)
	if err != nil || len(raw) != 32 || a == b || len(a) < MinSecret || strings.ContainsAny(a, " \n") {
		t.Errorf("got %q and %q", a, b)
	}
	if _, err := Identity(a, "edge-1"); err != nil {
		t.Error(err)
	}
}

func TestWeakSecretsAreRefused(t *testing.T) {
	if _, err := Identity("too short", "edge-1"); err == nil || strings.Contains(err.Error(), "too short") {
		t.Errorf("got %v, want an error that does not show the secret", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"edge-1", "a", "shoal-0.shoal.ns", "A_b"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a b", "a@b", "größe", "a/b", "a\n", strings.Repeat("x", 254)} {
		if err := CheckName(name); err == nil || len(err.Error()) > 200 {
			t.Errorf("%.20q: got %v", name, err)
		}
	}
}

func TestStaticMembers(t *testing.T) {
	for in, want := range map[string]string{
		"edge-1@10.0.0.7:4001":     "/ip4/10.0.0.7/tcp/4001",
		"edge-1@[2001:db8::1]:99":  "/ip6/2001:db8::1/tcp/99",
		"edge-1@edge-1.example:80": "/dns/edge-1.example/tcp/80",
	} {
		s, err := ParseStatic(in)
		if err != nil || s.Name != "edge-1" || s.Addr.String() != want {
			t.Errorf("%s: got %v, %v", in, s, err)
		}
	}
	for _, in := range []string{"", "edge-1", "edge-1@host", "@host:1", "edge-1@host:0", "edge-1@host:99999", "edge-1@:4001",
		"edge 1@host:1", "edge-1@host:name", "edge-1@a/b:1", "edge-1@2001:db8::1:99"} {
		if s, err := ParseStatic(in); err == nil || !strings.Contains(err.Error(), "name@host:port") {
			t.Errorf("%q: got %v, %v", in, s, err)
		}
	}
}
