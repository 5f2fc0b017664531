package swarm

import (
	"time"

	"github.com/shoal-cdn/shoal/swarm/members"
)

const (
	// joinWithin bounds how long an edge that starts waits for its siblings. One that
	// none of them answers is a fleet of its own.
	joinWithin = 2 * time.Second
	// joinLook is how often it looks whether it has met them.
	joinLook = 5 * time.Millisecond
)

// Joined is closed once this edge has met the siblings that it knows of, or found
// them absent, at most two seconds after Start. Before that it would take itself for
// the home of everything, ask the origin for what the fleet has, and deny what only a
// sibling has; so fills wait for it, and visitors should.
func (s *Swarm) Joined() <-chan struct{} { return s.joined }

func (s *Swarm) join() {
	defer close(s.joined)
	late := time.NewTimer(joinWithin)
	defer late.Stop()
	look := time.NewTicker(joinLook)
	defer look.Stop()
	// Whoever was met tells of others, so twice is once more than met all.
	for met := 0; met < 2; {
		select {
		case <-look.C:
		case <-late.C:
			return
		case <-s.ctx.Done():
			return
		}
		if met++; !s.metAll() {
			met = 0
		}
	}
}

// metAll reports whether every known sibling has answered, or could not be reached.
func (s *Swarm) metAll() bool {
	all := s.Members()
	// In a large fleet, the others are known by what one of them says.
	warm := len(all) <= s.opts.Members.Warm
	for _, m := range all {
		if m.State == members.Connecting && m.Detail == "" || warm && !m.Self && m.State == members.Alive && !m.Met {
			return false
		}
	}
	return len(all) > 1 || s.opts.DNS == ""
}
