package origin

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// roster is the origins in the order in which they are asked. It never changes; a
// [Change] replaces it as a whole.
type roster struct {
	origins []named
	asking  sync.WaitGroup // calls of Get that read this roster, see Set.enter

	before <-chan struct{} // the idle of the roster before; nil for the first
	// idle is closed when nobody asks this roster any more, nor one before it, which
	// may have had the same origins.
	idle chan struct{}
}

func newRoster(n int) *roster { return &roster{origins: make([]named, n), idle: make(chan struct{})} }

// Change is other origins that are open and not asked yet. Call either Commit or
// Discard, once.
type Change struct {
	set      *Set
	next     *roster
	opened   []named
	reopened []string
}

// Prepare opens the origins of o that the set does not have yet. An origin with the
// same settings as before stays the same, with its connections and what it remembers;
// an archive whose files changed on the disk is read again. An error names the origin
// and what is wrong with it, and changes nothing. The limits in o are ignored: they
// are those that New was given.
func (s *Set) Prepare(o Options) (*Change, error) {
	limits := s.opts
	limits.Origins = o.Origins
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	c := &Change{set: s, next: newRoster(len(o.Origins))}
	c.keep(s.origins(), o.Origins)
	for i, spec := range o.Origins {
		if c.next.origins[i].source != nil {
			continue
		}
		n, err := s.open(spec, limits, c.next.origins)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("origins[%d]: %w", i, err), c.Discard())
		}
		c.next.origins[i] = n
		c.opened = append(c.opened, n)
	}
	return c, nil
}

// keep takes over the origins whose settings are still there, so that they, and the
// names that metrics know them by, stay the same.
func (c *Change) keep(current []named, specs []Spec) {
	left := slices.Clone(current)
	for i, spec := range specs {
		same := slices.IndexFunc(left, func(n named) bool { return reflect.DeepEqual(n.spec, spec) })
		if same < 0 {
			continue
		}
		was := left[same]
		left = slices.Delete(left, same, same+1)
		if a, ok := was.source.(*archives); ok && a.changed(spec.Path) {
			c.reopened = append(c.reopened, was.name)
			continue
		}
		c.next.origins[i] = was
	}
}

// Reopened names the archives that are read again although their settings are the
// same, because their files changed.
func (c *Change) Reopened() []string { return c.reopened }

// Discard closes what Prepare opened.
func (c *Change) Discard() error {
	var errs []error
	for _, n := range c.opened {
		errs = append(errs, n.close())
	}
	return errors.Join(errs...)
}

// Commit has the set ask these origins from now on. Requests under way finish with
// the ones before; those of them that were removed are closed after that.
func (c *Change) Commit() {
	s := c.set
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Discard() // nobody asks any more
		return
	}
	old := s.current
	c.next.before = old.idle
	s.current = c.next
	gone := slices.DeleteFunc(slices.Clone(old.origins), func(n named) bool {
		return slices.ContainsFunc(c.next.origins, func(m named) bool { return m.source == n.source })
	})
	s.retiring.Go(func() { s.retire(old, gone) })
}

// retire closes origins that are asked no more, once nobody waits for them. When the
// set is closed, that is at once.
func (s *Set) retire(from *roster, gone []named) {
	go func() {
		from.asking.Wait()
		if from.before != nil {
			<-from.before
		}
		close(from.idle)
	}()
	select {
	case <-from.idle:
	case <-s.life.Done():
	}
	for _, n := range gone {
		if err := n.close(); err != nil {
			s.log.Warn("close an origin that was removed", "origin", n.name, "err", err)
		}
	}
	<-from.idle
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range gone {
		if !slices.ContainsFunc(s.current.origins, func(m named) bool { return m.name == n.name }) {
			s.metrics.forget(n.name)
		}
	}
}

// enter returns the roster to ask, and counts the caller in until it calls leave.
func (s *Set) enter() *roster {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.current.asking.Add(1)
	return s.current
}

func (r *roster) leave() { r.asking.Done() }

// origins returns those that are asked now.
func (s *Set) origins() []named {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current.origins
}
