package main

import "time"

// clock is simulated time: a queue of what happens when. Nothing ever waits; what
// is due next happens at once, in the order of time and then of scheduling, so a run
// is the same every time.
type clock struct {
	now   time.Duration
	seq   uint64
	queue []event // a heap with four children per node
}

type event struct {
	at  time.Duration
	seq uint64
	do  func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// after has do happen once d has passed.
func (c *clock) after(d time.Duration, do func()) {
	c.seq++
	c.queue = append(c.queue, event{c.now + d, c.seq, do})
	i := len(c.queue) - 1
	for i > 0 {
		parent := (i - 1) / 4
		if !c.queue[i].before(c.queue[parent]) {
			break
		}
		c.queue[i], c.queue[parent] = c.queue[parent], c.queue[i]
		i = parent
	}
}

// run has everything happen, until nothing is left to happen.
func (c *clock) run() {
	for len(c.queue) > 0 {
		e := c.pop()
		c.now = e.at
		e.do()
	}
}

func (c *clock) pop() event {
	first, last := c.queue[0], len(c.queue)-1
	c.queue[0] = c.queue[last]
	c.queue[last] = event{}
	c.queue = c.queue[:last]
	for i := 0; ; {
		least := i
		for child := 4*i + 1; child < min(4*i+5, last); child++ {
			if c.queue[child].before(c.queue[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		c.queue[i], c.queue[least] = c.queue[least], c.queue[i]
		i = least
	}
}
