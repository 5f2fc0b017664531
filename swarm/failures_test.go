package swarm

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// What siblings say from memory is not remembered for longer than they do.
func TestHearsayIsNotKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFailures(2*time.Second), newFailures(2*time.Second)
		a.add("x", errors.New("no answer"))
		for range 10 { // each asks the other whenever it has forgotten
			time.Sleep(900 * time.Millisecond)
			for _, pair := range [][2]*failures{{a, b}, {b, a}} {
				if err := pair[1].get("x"); pair[0].get("x") == nil && err != nil {
					pair[0].add("x", &hearsay{err, pair[1].left("x")})
				}
			}
		}
		if a.get("x") != nil || b.get("x") != nil {
			t.Error("after nine seconds it is still remembered")
		}
	})
}
