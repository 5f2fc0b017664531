package members

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// MinSecret is the length of the shortest secret that is accepted, in bytes.
const MinSecret = 32

// NewSecret returns a new fleet secret: 256 random bits in 43 printable
// characters.
func NewSecret() string {
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// Identity derives the key of the named edge from the fleet's secret.
func Identity(secret, name string) (crypto.PrivKey, error) {
	if len(secret) < MinSecret {
		return nil, fmt.Errorf("swarm secret: %d characters: expected at least %d, as made by `shoal swarm secret`", len(secret), MinSecret)
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	seed, err := hkdf.Key(sha256.New, []byte(secret), []byte("shoal swarm identity 1"), name, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive the identity of %s: %w", name, err)
	}
	std := ed25519.NewKeyFromSeed(seed)
	key, _, err := crypto.KeyPairFromStdKey(&std)
	if err != nil {
		return nil, fmt.Errorf("derive the identity of %s: %w", name, err)
	}
	return key, nil
}

// PeerID returns the peer ID of the named edge.
func PeerID(secret, name string) (peer.ID, error) {
	key, err := Identity(secret, name)
	if err != nil {
		return "", err
	}
	return peer.IDFromPrivateKey(key)
}

// maxName is the longest name of an edge: that of a DNS name.
const maxName = 253

// CheckName reports whether name can be the name of an edge: letters, digits, dots,
// hyphens and underscores, as in host names.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_.", c))
	}
	if !ok {
		return fmt.Errorf("edge name: %.64q: expected 1 to %d letters, digits, '-', '_' or '.'", name, maxName)
	}
	return nil
}

// Static is a configured member.
type Static struct {
	Name string
	Addr ma.Multiaddr // without a peer ID
}

// ParseStatic reads a member in the form name@host:port.
func ParseStatic(s string) (Static, error) {
	wrong := func(why string) (Static, error) {
		return Static{}, fmt.Errorf("%q: %s; expected name@host:port, such as edge-1@10.0.0.7:4001", s, why)
	}
	name, hostport, found := strings.Cut(s, "@")
	if !found {
		return wrong("no @ in it")
	}
	if err := CheckName(name); err != nil {
		return wrong(err.Error())
	}
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return wrong(fmt.Sprintf("%q is not host:port", hostport))
	}
	addr, err := hostAddr(host, port)
	if err != nil {
		return wrong(err.Error())
	}
	return Static{Name: name, Addr: addr}, nil
}

// hostAddr returns the multiaddr of a TCP port on a host name or an IP address.
func hostAddr(host, port string) (ma.Multiaddr, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%q is not a port", port)
	}
	kind := "dns"
	if ip := net.ParseIP(host); ip != nil {
		if kind = "ip6"; ip.To4() != nil {
			kind = "ip4"
		}
	} else if host == "" || strings.ContainsAny(host, "/ \t") {
		return nil, fmt.Errorf("%q is not a host name", host)
	}
	return ma.NewMultiaddr("/" + kind + "/" + host + "/tcp/" + port)
}
