package problem_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/shoal-cdn/shoal/problem"
)

func TestOf(t *testing.T) {
	base := errors.New("nobody has it")
	for _, tc := range []struct {
		err  error
		want problem.Reason
		text string
	}{
		{base, problem.Internal, "nobody has it"},
		{problem.With(problem.NotFound, base), problem.NotFound, "nobody has it"},
		{fmt.Errorf("read: %w", problem.With(problem.NotFound, base)), problem.NotFound, "read: nobody has it"},
		{problem.Errorf(problem.BadRequest, "path: %w", problem.With(problem.NotFound, base)), problem.BadRequest, "path: nobody has it"},
	} {
		if got := problem.Of(tc.err); got != tc.want || tc.err.Error() != tc.text || !errors.Is(tc.err, base) {
			t.Errorf("%v: %s, want %s", tc.err, got, tc.want)
		}
	}
	if s := problem.Reason("SOMETHING_NEW").Status(); s != http.StatusInternalServerError {
		t.Errorf("status %d for an unknown reason", s)
	}
}
