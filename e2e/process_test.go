//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// patience bounds every wait for a condition. It is long because a test that
// waits longer has failed, not because anything takes this long.
const patience = 60 * time.Second

// binary is the program under test, built once by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shoal-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if binary, err = lab.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// inTime returns a context that ends when a test has waited too long.
func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// An edge is a running `shoal serve` of one test.
type edge struct {
	*lab.Edge
	t *testing.T
}

// start runs `shoal serve` with the settings in args ("key=value") and waits until
// it serves.
func start(t *testing.T, data string, args ...string) *edge {
	t.Helper()
	e, err := lab.Start(inTime(t), lab.Plan{Binary: binary, Dir: t.TempDir(), Set: append([]string{"data=" + data}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, e)
	return &edge{e, t}
}

// tidy kills an edge at the end of a test, and shows its log if the test failed.
func tidy(t *testing.T, e *lab.Edge) {
	t.Cleanup(func() {
		e.Kill()
		if t.Failed() {
			t.Logf("log of edge %s:\n%s", e.Name, e.Log)
		}
	})
}

func (e *edge) kill() { e.Kill() }

// stop sends SIGTERM and returns the exit code.
func (e *edge) stop() int {
	e.t.Helper()
	code, err := e.Stop(inTime(e.t))
	if err != nil {
		e.t.Fatal(err)
	}
	return code
}

// shoal runs another command of the program against this edge and returns what
// it printed.
func (e *edge) shoal(args ...string) (string, error) { return e.Command(inTime(e.t), args...) }

// answer is an HTTP response, read whole.
type answer = lab.Answer

// get asks the gateway for a path under a host name.
func (e *edge) get(host, path string) (answer, error) { return e.Get(inTime(e.t), host, path) }
