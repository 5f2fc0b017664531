package service

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"github.com/shoal-cdn/shoal/problem"
)

// maxToken is the longest token, in bytes; headers have their bounds.
const maxToken = 1024

// Owner returns what stands for an entry of [Options].Tokens in the records of its
// pins: "@" and the name, or for a token without one half of its SHA-256, in
// hexadecimal. It does not let anyone in.
func Owner(entry string) string {
	name, token := splitEntry(entry)
	if name != "" {
		return "@" + name
	}
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:16])
}

// splitEntry cuts NAME:TOKEN. No token has a colon in it: RFC 6750, section 2.1.
func splitEntry(entry string) (name, token string) {
	if name, token, ok := strings.Cut(entry, ":"); ok {
		return name, token
	}
	return "", entry
}

// maxTokenName is the longest name of a token, in bytes.
const maxTokenName = 64

// ParseTokens reads a token file: one TOKEN or NAME:TOKEN per line; empty lines and lines that
// begin with # do not count.
func ParseTokens(text string) ([]string, error) {
	var tokens []string
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if fault := tokenFault(line); fault != "" {
			return nil, fmt.Errorf("line %d: the token %s", n, fault)
		}
		tokens = append(tokens, line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	return tokens, nil
}

func checkTokens(tokens []string) error {
	for i, token := range tokens {
		if fault := tokenFault(token); fault != "" {
			return fmt.Errorf("pin.tokens[%d]: the token %s", i, fault)
		}
	}
	return nil
}

// tokenFault says what keeps an entry from working as one; empty for nothing.
func tokenFault(entry string) string {
	name, token := splitEntry(entry)
	switch {
	case strings.Contains(entry, ":") && (name == "" || len(name) > maxTokenName || strings.ContainsFunc(name, notInName)):
		return fmt.Sprintf("has a colon, but what stands before it is no name of 1 to %d letters, digits, dots, dashes and underscores: expected TOKEN or NAME:TOKEN", maxTokenName)
	case strings.Contains(token, ":"):
		return "has two colons: expected TOKEN or NAME:TOKEN"
	case token == "":
		return "is empty"
	case len(token) > maxToken:
		return fmt.Sprintf("has %d bytes, expected at most %d", len(token), maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "has a space or a character that is not printable ASCII, which no HTTP header can carry"
	}
	return ""
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-", r))
}

// key is one token that is let in.
type key struct {
	digest [sha256.Size]byte
	owner  string
	slots  chan struct{} // one element for each request under way
}

// SetTokens replaces the tokens that are let in. Requests under way go on. If a token
// is not valid, nothing changes. It may be called at any time.
func (s *Service) SetTokens(tokens []string) error {
	if err := checkTokens(tokens); err != nil {
		return err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	slots := make(map[string]chan struct{})
	if old := s.keys.Load(); old != nil {
		for _, k := range *old {
			slots[k.owner] = k.slots
		}
	}
	keys := make([]key, 0, len(tokens))
	for _, entry := range tokens {
		_, token := splitEntry(entry)
		k := key{digest: sha256.Sum256([]byte(token)), owner: Owner(entry)}
		if slots[k.owner] == nil {
			slots[k.owner] = make(chan struct{}, s.opts.MaxConcurrent)
		}
		k.slots = slots[k.owner]
		keys = append(keys, k)
	}
	s.keys.Store(&keys)
	return nil
}

// authenticate returns the key that a request has (RFC 6750, section 2.1). It
// compares digests, and all of them, so that the time that it takes tells nothing.
func (s *Service) authenticate(r *http.Request) (key, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return key{}, unauthorized("no access token: send Authorization: Bearer <token>", "")
	}
	digest := sha256.Sum256([]byte(token))
	var found key
	for _, k := range *s.keys.Load() {
		if subtle.ConstantTimeCompare(k.digest[:], digest[:]) == 1 {
			found = k
		}
	}
	if found.owner == "" {
		return key{}, unauthorized("the access token is not valid here", `, error="invalid_token"`)
	}
	return found, nil
}

func unauthorized(details, parameter string) *refusal {
	return &refusal{
		reason: problem.Unauthorized, details: details,
		header: [2]string{"WWW-Authenticate", `Bearer realm="shoal pins"` + parameter},
	}
}
