package origin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
)

// The types of origin.
const (
	TypeGateway = "gateway" // a trustless HTTP gateway: URL
	TypeCAR     = "car"     // archives on this machine: Path
	TypeBitswap = "bitswap" // a peer that speaks Bitswap, such as a Kubo node: Addr
)

var knownTypes = []string{TypeBitswap, TypeCAR, TypeGateway}

// Spec describes one origin. Its String and LogValue leave out every secret, so
// that printing one is safe.
type Spec struct {
	// Type is TypeGateway, TypeCAR or TypeBitswap.
	Type string
	// URL of a gateway: http or https, a host, and a path if the gateway is not at
	// the root. "user:password@" in it is sent as basic authentication.
	URL string
	// Path of a car origin: a CARv1 or CARv2 file, or a folder that is searched for
	// *.car, subfolders included.
	Path string
	// Addr of a bitswap origin: a multiaddr that ends in /p2p/ and the peer's ID.
	Addr string
	// Token is sent to a gateway as a bearer token, and to no other host that the
	// gateway may redirect to. Likewise Headers.
	Token string
	// Headers are sent to a gateway with every request.
	Headers map[string]string
}

// String returns the origin without its secrets.
func (s Spec) String() string {
	switch s.Type {
	case TypeCAR:
		return s.Type + " " + s.Path
	case TypeBitswap:
		return s.Type + " " + s.Addr
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return s.Type
	}
	return s.Type + " " + u.Redacted()
}

// LogValue returns what [Spec.String] returns.
func (s Spec) LogValue() slog.Value { return slog.StringValue(s.String()) }

func (s Spec) validate() error {
	switch s.Type {
	case TypeGateway:
		return s.validateGateway()
	case TypeCAR:
		return s.validateCAR()
	case TypeBitswap:
		return s.validateBitswap()
	}
	return fmt.Errorf("type: %q is not a type of origin: expected one of %s", s.Type, strings.Join(knownTypes, ", "))
}

func (s Spec) validateCAR() error {
	switch {
	case s.Path == "":
		return errors.New(`path: "": expected a .car file or a folder of them`)
	case s.URL != "":
		return errors.New("url: an origin of type car has a path and no url")
	case s.Addr != "":
		return errors.New("addr: an origin of type car has a path and no addr")
	case s.Token != "" || len(s.Headers) > 0:
		return errors.New("token: an origin of type car takes no token and no headers")
	}
	return nil
}

func (s Spec) validateBitswap() error {
	if s.URL != "" || s.Path != "" || s.Token != "" || len(s.Headers) > 0 {
		return errors.New("addr: an origin of type bitswap has an addr and nothing else")
	}
	if info, err := peer.AddrInfoFromString(s.Addr); err != nil || len(info.Addrs) == 0 {
		return fmt.Errorf("addr: %q: expected a multiaddr with a peer ID, such as /ip4/10.0.0.9/tcp/4001/p2p/12D3KooW", s.Addr)
	}
	return nil
}

func (s Spec) validateGateway() error {
	const expected = "expected a URL like https://gateway.example"
	if s.Addr != "" {
		return fmt.Errorf("addr: %q: an origin of type gateway has a url and no addr", s.Addr)
	}
	if s.Path != "" {
		return fmt.Errorf("path: %q: an origin of type gateway has a url and no path", s.Path)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		// url.Parse's error quotes its input, which may hold a password.
		return fmt.Errorf("url: not a URL: %s", expected)
	}
	shown := u.Redacted()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("url: %q: scheme is %q: %s", shown, u.Scheme, expected)
	case u.Hostname() == "":
		return fmt.Errorf("url: %q: no host: %s", shown, expected)
	case !validPort(u.Port()):
		return fmt.Errorf("url: %q: port is %q: expected 1 to 65535", shown, u.Port())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("url: %q: a query or a fragment has no place here: %s", shown, expected)
	case u.User != nil && s.Token != "":
		return fmt.Errorf("token: %q has a user name as well: expected one way to authenticate", shown)
	case !validHeaderValue(s.Token):
		return errors.New("token: holds a line break or another control character (value not shown)")
	}
	return s.validateHeaders()
}

// validPort allows no port as well.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// ownHeaders are set by the client itself, or by net/http.
var ownHeaders = []string{
	"accept", "accept-encoding", "range", "host", "cookie", "connection", "content-length", "te",
	"trailer", "transfer-encoding", "upgrade", "user-agent",
}

func (s Spec) validateHeaders() error {
	for name, value := range s.Headers {
		switch {
		case !validHeaderName(name):
			return fmt.Errorf("headers: %q is not the name of an HTTP header", name)
		case slices.Contains(ownHeaders, strings.ToLower(name)):
			return fmt.Errorf("headers: %q is set by shoal itself", name)
		case strings.EqualFold(name, "authorization") && s.Token != "":
			return errors.New("headers: Authorization and token: expected one way to authenticate")
		case !validHeaderValue(value):
			return fmt.Errorf("headers: %q holds a line break or another control character (value not shown)", name)
		}
	}
	return nil
}

// validHeaderName reports whether name is a token of RFC 9110, section 5.6.2.
func validHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		alphanumeric := r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !alphanumeric && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// validHeaderValue is RFC 9110, section 5.5, field-value.
func validHeaderValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
