package list

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-cdn/shoal/work"
)

// fleet are the siblings that are there.
type fleet struct {
	look work.Signal // look who is there, now

	mu       sync.Mutex
	siblings map[string]*sibling
	seed     maphash.Seed // draws the partners

	// turn is held by whoever reads a sibling's list: what one sibling has, the others
	// mostly have too.
	turn     chan struct{}
	progress time.Time // when that last got on; guarded by mu
}

// sibling is another edge. It has two goroutines: one tells and compares, one reads
// the sibling's list.
type sibling struct {
	name   string
	cancel context.CancelFunc
	speak  work.Signal // there is something to tell, or lists are to be compared
	pull   work.Signal // its list is to be read

	strikes atomic.Int32 // how often its word was doubted

	mu     sync.Mutex // guards what follows
	outbox []item
	since  time.Time // when the first of the outbox was put there
	size   int       // bytes in the outbox
	due    bool      // lists are to be compared
	state  SiblingState
	// merged is the state of the sibling's list at the start of the last complete
	// reading: all that it says is known here.
	merged summary
	read   bool // merged is valid
}

// SiblingState says how a sibling's list compares with the one here.
type SiblingState struct {
	Name string
	// Same says that both lists were the same when they were last compared.
	Same bool
	// Compared is when that was; zero for never.
	Compared time.Time
	// Err is why the sibling could not be asked the last time, or its answer not be
	// used; nil if all is well.
	Err error
}

func (f *fleet) init() {
	f.look = work.NewSignal()
	f.turn = make(chan struct{}, 1)
	f.siblings, f.seed = map[string]*sibling{}, maphash.MakeSeed()
}

// Siblings returns the state of those that are there, by name.
func (l *List) Siblings() []SiblingState {
	var all []SiblingState
	for _, s := range l.fleet.all() {
		s.mu.Lock()
		all = append(all, s.state)
		s.mu.Unlock()
	}
	return all
}

func (f *fleet) all() []*sibling {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*sibling, 0, len(f.siblings))
	for _, s := range f.siblings {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *sibling) int { return strings.Compare(a.name, b.name) })
	return all
}

func (f *fleet) get(name string) *sibling {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.siblings[name]
}

// tell puts changes into all outboxes.
func (f *fleet) tell(items []item) {
	if len(items) == 0 {
		return
	}
	for _, s := range f.all() {
		s.tell(items)
	}
}

func (s *sibling) tell(items []item) {
	s.mu.Lock()
	if len(s.outbox) == 0 {
		s.since = time.Now()
	}
	for _, i := range items {
		s.outbox = append(s.outbox, i)
		s.size += i.size()
	}
	if s.size > outbox {
		// It is slow, or not there. It will read the list.
		s.outbox, s.size, s.due = nil, 0, true
	}
	s.mu.Unlock()
	s.speak.Give()
}

// compare has the lists compared soon.
func (s *sibling) compare() {
	s.mu.Lock()
	s.due = true
	s.mu.Unlock()
	s.speak.Give()
}

// news reports whether a sibling whose list has this sum may know more than we do. mu
// must be held.
func (s *sibling) news(mine, theirs summary) bool {
	return theirs != mine && !(s.read && s.merged == theirs)
}

// keepCompany follows who is there.
func (l *List) keepCompany() {
	tick := time.NewTicker(l.options.Interval)
	defer tick.Stop()
	for n := 0; ; n++ {
		l.meet()
		l.compareSome(n)
		select {
		case <-tick.C:
		case <-l.fleet.look:
		case <-l.ctx.Done():
			l.part(nil)
			return
		}
	}
}

// meet greets who is new, and forgets who is gone.
func (l *List) meet() {
	names := l.cfg.Peers.Names()
	for _, name := range names {
		if l.fleet.get(name) == nil {
			l.greet(name)
		}
	}
	l.part(names)
}

// partners is with how many siblings an edge compares lists again and again: in a large
// fleet with some that it drew by lot, so that it needs few connections, and what one edge
// knows reaches all in a few steps. With as many, lists are compared as soon as they
// appear; further ones know what those know.
const partners = 8

func (l *List) greet(name string) {
	ctx, cancel := context.WithCancel(l.ctx)
	s := &sibling{
		name: name, cancel: cancel, speak: work.NewSignal(), pull: work.NewSignal(),
		state: SiblingState{Name: name},
	}
	l.fleet.mu.Lock()
	l.fleet.siblings[name] = s
	few := len(l.fleet.siblings) <= partners
	l.fleet.mu.Unlock()
	if few {
		s.compare()
	}
	l.wg.Go(func() { l.speakTo(ctx, s) })
	l.wg.Go(func() { l.readFrom(ctx, s) })
}

// part forgets all but those.
func (l *List) part(names []string) {
	l.fleet.mu.Lock()
	defer l.fleet.mu.Unlock()
	for name, s := range l.fleet.siblings {
		if !slices.Contains(names, name) {
			s.cancel()
			delete(l.fleet.siblings, name)
		}
	}
}

// compareSome has the list compared with the next of this edge's partners, and with
// those whom it was not possible to reach.
func (l *List) compareSome(n int) {
	all := l.fleet.all()
	slices.SortFunc(all, func(a, b *sibling) int {
		return cmp.Compare(maphash.String(l.fleet.seed, a.name), maphash.String(l.fleet.seed, b.name))
	})
	for i, s := range all {
		s.mu.Lock()
		failed := s.state.Err != nil
		s.mu.Unlock()
		if failed || i == n%min(len(all), partners) {
			s.compare()
		}
	}
}

// speakTo tells a sibling what changes, and compares lists.
func (l *List) speakTo(ctx context.Context, s *sibling) {
	for {
		select {
		case <-s.speak:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		items, since, due := s.outbox, s.since, s.due
		s.outbox, s.size, s.due = nil, 0, false
		s.mu.Unlock()
		if err := l.tellItems(ctx, s, items, since); err != nil {
			l.failed(ctx, s, err) // and compare when it is there again
			continue
		}
		if due {
			_, news, err := l.compareWith(ctx, s)
			if err != nil {
				l.failed(ctx, s, err)
			} else if news {
				s.pull.Give()
			}
		}
	}
}

func (l *List) failed(ctx context.Context, s *sibling, err error) {
	if ctx.Err() != nil {
		return // it is gone, or we are
	}
	s.mu.Lock()
	first := s.state.Err == nil
	s.state.Err, s.state.Same = err, false
	s.mu.Unlock()
	if first {
		l.log.Debug("list of pins: a sibling cannot be asked; it will be tried again", "sibling", s.name, "err", err)
	}
}

// call is bounded in time: so much for a full message, in proportion for a smaller
// one, but no less than the interval. An edge that has become reachable again is not
// to be waited for because of a call that was made before.
func (l *List) call(ctx context.Context, s *sibling, method string, size int, request, response any) error {
	limit := timeout * time.Duration(min(size, budget)) / budget
	ctx, cancel := context.WithTimeout(ctx, max(limit, l.options.Interval))
	defer cancel()
	return l.cfg.Peers.Call(ctx, s.name, method, request, response)
}

func (l *List) tellItems(ctx context.Context, s *sibling, items []item, since time.Time) error {
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && (n == 0 || size+items[n].size() <= budget) {
			size += items[n].size()
			n++
		}
		var answer tellAnswer
		err := l.call(ctx, s, methodTell, size, tellRequest{Items: items[:n]}, &answer)
		l.metrics.tells.WithLabelValues(outcome(err)).Inc()
		if err == nil && len(answer.Removed) > 0 {
			err = l.insist(ctx, s, items[:n], since, answer.Removed)
		}
		if err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// compareWith asks for a sibling's state, and says whether reading its list may bring
// something.
func (l *List) compareWith(ctx context.Context, s *sibling) (answer compareAnswer, news bool, err error) {
	mine := l.summary()
	if err := l.call(ctx, s, methodCompare, 0, compareRequest{Sum: mine}, &answer); err != nil {
		return answer, false, err
	}
	if answer.Run == "" {
		return answer, false, errors.New("the sibling's answer has no run")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Same, s.state.Compared, s.state.Err = answer.Sum == mine, time.Now(), nil
	return answer, s.news(mine, answer.Sum), nil
}
