//go:build !linux

package lab

import (
	"errors"
	"time"
)

// ErrNoNamespaces says that network namespaces cannot be made here.
var ErrNoNamespaces = errors.New("network namespaces cannot be made here")

// Zones is a network of zones, which only Linux has.
type Zones struct{}

// NewZones returns [ErrNoNamespaces].
func NewZones(int, time.Duration) (*Zones, error) { return nil, ErrNoNamespaces }

// Inside is never called.
func (*Zones) Inside(int) string { return "" }

// Public is never called.
func (*Zones) Public(int) string { return "" }

// Outside is never called.
func (*Zones) Outside(int) string { return "" }

// Namespace is never called.
func (*Zones) Namespace(int) string { return "" }

// Crossed is never called.
func (*Zones) Crossed() int64 { return 0 }

// Cut is never called.
func (*Zones) Cut(int, bool) {}

// Close is never called.
func (*Zones) Close() {}
