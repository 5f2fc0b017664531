package members

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	firstPause = 50 * time.Millisecond
	// keepEvery is how often it is looked who is to be dialed, and how late this
	// process's timers are.
	keepEvery = 500 * time.Millisecond
	// maxChecks is how many members that are not there are dialed at once.
	maxChecks = 8
	// redialSpread bounds the attempts to reach lost members to some four a second,
	// however many there are: after a cut, one that is reached tells of the others.
	redialSpread = 250 * time.Millisecond
	// warmAfter is how long a member has to be there before a connection is made just to
	// have one: whoever joins hears of all others at once, and how many they are only then.
	warmAfter = 100 * time.Millisecond
	// callFirst is how long the edge that was there first leaves it to the other to
	// make the connection between them.
	callFirst = time.Second
)

// keep dials members that are not there, until the fleet closes, and in a small fleet
// those that are there and not connected.
func (f *Fleet) keep() {
	timer := time.NewTimer(keepEvery)
	defer timer.Stop()
	for {
		pause := keepEvery
		for _, m := range f.toDial(time.Now(), &pause) {
			f.check(m)
		}
		f.resume()
		f.closeIdle(time.Now())
		due := time.Now().Add(pause)
		timer.Reset(pause)
		select {
		case <-f.ctx.Done():
			return
		case <-f.kick:
		case <-timer.C:
			f.late(time.Since(due))
		}
	}
}

// toDial returns whom to check now, and shortens the pause until the next look if
// somebody's turn comes before.
func (f *Fleet) toDial(now time.Time, pause *time.Duration) []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	small := len(f.byName) <= f.opts.Warm
	busy := 0
	var absent, list []*member
	for _, m := range f.byName {
		state := m.info.State
		switch {
		case state == Leaving || state == Left:
		case m.checked != nil:
			if !m.info.InRing() {
				busy++
			}
		case !m.info.InRing():
			absent = append(absent, m)
		case small && !m.met:
			wait := warmAfter
			if f.me.before(m.instance) {
				wait = callFirst
			}
			if wait -= now.Sub(m.info.Since); wait <= 0 {
				list = append(list, m)
			} else {
				*pause = min(*pause, wait)
			}
		}
	}
	slices.SortFunc(absent, func(a, b *member) int { return a.next.Compare(b.next) })
	for _, m := range absent {
		wait := m.next.Sub(now)
		if wait > 0 || busy >= maxChecks {
			*pause = min(*pause, max(wait, firstPause))
			break
		}
		busy++
		list = append(list, m)
	}
	return list
}

const (
	// idleAfter is for how long nobody needed a connection before it is closed, in a
	// fleet that is too large to keep all of them.
	idleAfter = time.Minute
	// maxClosing is how many connections are offered for closing at a time.
	maxClosing = 2
)

// closeIdle offers to close connections that this edge does not need.
func (f *Fleet) closeIdle(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.byName) <= f.opts.Warm {
		return
	}
	n := 0
	for _, m := range f.byName {
		if n < maxClosing && m.met && m.checked == nil && m.info.State == Alive && now.Sub(m.offered) > idleAfter && f.unused(m, now, idleAfter) {
			n++
			m.offered = now
			f.runLocked(func() { f.offer(m) })
		}
	}
}

// unused reports whether a member's connection has not been needed for some time. f.mu
// is held.
func (f *Fleet) unused(m *member, now time.Time, d time.Duration) bool {
	return now.Sub(m.used) > d && (f.cfg.Heard == nil || now.Sub(f.cfg.Heard(m.id)) > d)
}

// offer closes the connections with a member if it has no use for them either.
func (f *Fleet) offer(m *member) {
	ctx, cancel := context.WithTimeout(f.ctx, helloTimeout)
	defer cancel()
	self := f.hello()
	self.Idle = true
	i, err := f.introduceAs(ctx, peer.AddrInfo{ID: m.id}, self)
	if err != nil {
		f.check(m)
		return
	}
	f.mu.Lock()
	m.idle = i.hello.Idle && time.Since(m.used) > idleAfter
	hangUp := m.idle
	f.mu.Unlock()
	if hangUp {
		f.host.Network().ClosePeer(m.id)
	}
}

// consents reports whether a member may close its connections with this edge. That they
// end says nothing of the member then.
func (f *Fleet) consents(id peer.ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.byID[id]
	if m == nil || len(f.byName) <= f.opts.Warm {
		return false
	}
	m.idle = f.unused(m, time.Now(), idleAfter/2)
	return m.idle
}

// Used notes that something has come from a member: it is there, and the connection is
// needed.
func (f *Fleet) Used(id peer.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.byID[id]; m != nil {
		m.heard, m.used, m.idle = time.Now(), time.Now(), false
	}
}

// backoff returns how long to wait after an attempt to reach a member that failed.
func (f *Fleet) backoff(m *member) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	absent := 0
	for _, other := range f.byName {
		if !other.info.InRing() {
			absent++
		}
	}
	m.pause = min(cmp.Or(2*m.pause, firstPause), max(f.opts.RedialAfter, time.Duration(absent)*redialSpread))
	return m.pause
}

// standAside notes that another edge has this edge's name.
func (f *Fleet) standAside(member, reason string) {
	f.mu.Lock()
	first := f.aside.IsZero()
	f.aside, f.asideWhy = time.Now(), reason
	f.mu.Unlock()
	if first {
		f.log.Error("swarm: another edge of the fleet has this edge's name; standing aside until it is free. Give each edge a name of its own",
			"name", f.opts.Name, "told_by", member, "reason", reason)
		f.touch()
	}
}

// asideFor is for how long nobody may have refused this edge before it takes its
// name again.
const asideFor = 5 * time.Second

// resume ends standing aside when the name is free.
func (f *Fleet) resume() {
	f.mu.Lock()
	free := !f.aside.IsZero() && time.Since(f.aside) > asideFor
	if free {
		f.aside, f.asideWhy = time.Time{}, ""
	}
	f.mu.Unlock()
	if free {
		f.log.Info("swarm: the name is free again", "name", f.opts.Name)
		f.touch()
	}
}
