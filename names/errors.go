package names

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/namesys"
	"github.com/libp2p/go-libp2p/core/routing"
)

// The reasons for which a name is not resolved.
var (
	// ErrBadName: what was asked for is not a name that could have a record.
	ErrBadName = errors.New("not a name that can be resolved")
	// ErrNotFound: the name has no record.
	ErrNotFound = errors.New("no record found")
	// ErrUnavailable: nobody could be asked, or nobody answered. Asking again
	// later may help.
	ErrUnavailable = errors.New("cannot be looked up at the moment")
	// ErrUnsupported: this edge is not set up to resolve this kind of name.
	ErrUnsupported = errors.New("names of this kind are not resolved here")
	// ErrInvalidRecord: there is a record, and it is not to be trusted.
	ErrInvalidRecord = errors.New("record is not valid")
	// ErrRecursion: the name leads through more names than allowed, or back to
	// itself. The DNSLink gateway specification asks for the status 400.
	ErrRecursion = errors.New("leads through too many names")
)

// ErrClosed is returned after [Names.Close].
var ErrClosed = errors.New("name resolution is closed")

// Error says why a name was not resolved. Its message is fit for a visitor.
type Error struct {
	Name   string // the name, as it would stand in a path
	Reason error  // one of the reasons of this package
	Detail string // more for the visitor; may be empty
	Cause  error  // what happened, for the log; may name internal addresses; may be nil

	missingDNSLink bool
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("name %q: %v", e.Name, e.Reason)
	}
	return fmt.Sprintf("name %q: %v: %s", e.Name, e.Reason, e.Detail)
}

// Unwrap returns the Reason, the nearest error of the IPFS libraries, by which
// those who do not know this package recognise it, and the Cause.
func (e *Error) Unwrap() []error {
	errs := []error{e.Reason, e.kin()}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

func (e *Error) kin() error {
	switch e.Reason {
	case ErrBadName:
		return ipns.ErrInvalidName
	case ErrNotFound:
		if e.missingDNSLink {
			return namesys.ErrMissingDNSLinkRecord
		}
		return routing.ErrNotFound
	case ErrUnsupported:
		return routing.ErrNotSupported
	case ErrRecursion:
		return namesys.ErrResolveRecursion
	}
	return namesys.ErrResolveFailed
}

// ended says that ctx ended while somebody waited for a name. It wraps the cause,
// and ctx.Err() too when a cause of its own was given.
func ended(ctx context.Context, name string) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return fmt.Errorf("wait for name %q: %w", name, cause)
	}
	return fmt.Errorf("wait for name %q: %w (%w)", name, cause, err)
}
