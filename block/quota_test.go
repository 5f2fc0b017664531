package block

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQuota(10)
		var all sync.WaitGroup
		first, end := q.Begin(t.Context())
		for _, n := range []int64{4, 20, 6} { // each anew, and never more than there is
			if err := Reserve(first, n); err != nil {
				t.Fatal(err)
			}
		}
		came := make(chan int64, 3)
		for _, n := range []int64{4, 5} {
			all.Go(func() {
				ctx, end := q.Begin(t.Context())
				defer end()
				if err := Reserve(ctx, n); err != nil {
					t.Error(err)
				}
				came <- n
			})
			synctest.Wait()
		}
		if n := len(came); n != 1 {
			t.Errorf("%d fetches besides one of 6 of 10 bytes, want that of 4", n)
		}
		end()
		all.Wait()
		if n := len(came); n != 2 {
			t.Errorf("%d fetches afterwards", n)
		}
	})
}

func TestQuotaOfWhoIsGone(t *testing.T) {
	q := NewQuota(10)
	first, end := q.Begin(t.Context())
	if err := Reserve(first, 10); err != nil {
		t.Fatal(err)
	}
	why := errors.New("nobody waits any more")
	ctx, cancel := context.WithCancelCause(t.Context())
	second, endSecond := q.Begin(ctx)
	cancel(why)
	if err := Reserve(second, 1); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	endSecond()
	end()
	third, endThird := q.Begin(t.Context())
	defer endThird()
	if err := Reserve(third, 10); err != nil {
		t.Error(err)
	}
	if err := Reserve(t.Context(), 1<<40); err != nil {
		t.Errorf("a fetch without a quota: %v", err)
	}
}
