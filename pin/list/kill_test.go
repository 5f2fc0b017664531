package list

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/pin/database"
)

// victimEnv tells a copy of the test binary to be the process that is killed, and
// where its database is.
const victimEnv = "SHOAL_TEST_LIST_TO_BE_KILLED"

func killed() bool {
	file := os.Getenv(victimEnv)
	if file == "" {
		return false
	}
	d, err := database.New(file)
	if err != nil {
		fmt.Println("failed:", err)
		return true
	}
	l, err := New(DefaultOptions(), Config{Datastore: d})
	if err != nil {
		fmt.Println("failed:", err)
		return true
	}
	for i := 0; ; i++ {
		err := l.Add(context.Background(), pin(fmt.Sprint(os.Getpid(), "-", i)))
		fmt.Println("added", fmt.Sprint(os.Getpid(), "-", i))
		if err == nil && i%3 == 2 {
			err = l.Remove(context.Background(), fmt.Sprint(os.Getpid(), "-", i-1))
			fmt.Println("removed", fmt.Sprint(os.Getpid(), "-", i-1))
		}
		if err != nil {
			fmt.Println("failed:", err)
			return true
		}
	}
}

// TestKill kills a process that writes, for real, several times.
func TestKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	want := map[string]bool{}
	for _, lines := range []int{1, 10, 101} {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), victimEnv+"="+file)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			if n == lines {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
			verb, id, _ := strings.Cut(in.Text(), " ")
			switch verb {
			case "added":
				want[id] = true
			case "removed":
				want[id] = false
			default:
				t.Fatal(in.Text())
			}
		}
		child.Wait() // says that it was killed
	}
	d, err := database.New(file)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l := alone(t, d)
	defer l.Close()
	for id, there := range want {
		// The last line of a process may be cut; what it said is true.
		if _, ok := l.Get(id); ok != there && !unsaid(want, id) {
			t.Errorf("%s: there %v, want %v", id, ok, there)
		}
	}
	audit(t, l)
}

// unsaid reports whether an ID may have been removed without the process having come
// to say so: that of the last but one that was added, if a removal was due.
func unsaid(want map[string]bool, id string) bool {
	var pid, i int
	fmt.Sscanf(id, "%d-%d", &pid, &i)
	_, next := want[fmt.Sprint(pid, "-", i+1)]
	_, after := want[fmt.Sprint(pid, "-", i+2)]
	return i%3 == 1 && next && !after
}
