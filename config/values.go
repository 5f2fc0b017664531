package config

import (
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. In a file it is written as a whole number of bytes
// or with a unit: 512MiB, 10GiB, or in powers of ten 10GB.
type Size int64

var binaryUnits = []struct {
	name  string
	bytes Size
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String returns the size in the largest binary unit that keeps it exact.
func (s Size) String() string {
	for _, u := range binaryUnits {
		if s != 0 && s%u.bytes == 0 {
			return strconv.FormatInt(int64(s/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > math.MaxInt64 {
		return fmt.Errorf("%q is not a size; expected a number of bytes or one with a unit, such as 512MiB or 10GiB", text)
	}
	*s = Size(n)
	return nil
}

// Duration is a length of time, written as Go writes it: 30s, 1m30s, 500ms.
type Duration time.Duration

// String returns the duration as it is written in a file.
func (d Duration) String() string {
	s := time.Duration(d).String()
	// "1m0s" and "1h0m0s" are what Go prints for 1m and 1h.
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration; expected a number with a unit, such as 30s, 2m or 1h", text)
	}
	*d = Duration(v)
	return nil
}

// Secret is a value that must not be seen: it prints itself as asterisks in every
// format, in YAML, in JSON and in logs. Reveal returns what it holds.
type Secret string

const masked = "********"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String masks the secret; an empty one prints as nothing.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString masks the secret for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText masks the secret in YAML and JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the secret in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// redacted masks the password in a URL; any other text stays as it is.
func redacted(s string) string {
	if !strings.Contains(s, "://") || !strings.Contains(s, "@") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return masked
	}
	return u.Redacted()
}

// Masked returns the settings with the passwords in URLs masked, for printing them.
// A [Secret] masks itself.
func (c Config) Masked() Config {
	c.Origins = slices.Clone(c.Origins)
	for i := range c.Origins {
		c.Origins[i].URL = redacted(c.Origins[i].URL)
	}
	c.Names.Resolvers = slices.Clone(c.Names.Resolvers)
	for i, r := range c.Names.Resolvers {
		c.Names.Resolvers[i] = redacted(r)
	}
	c.Names.IPNSGateway = redacted(c.Names.IPNSGateway)
	return c
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
