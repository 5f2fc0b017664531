package blockstore

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/blockstore/storetest"
)

// victimEnv tells a copy of the test binary to be the process that is killed, and
// in which folder.
const victimEnv = "SHOAL_TEST_STORE_TO_BE_KILLED"

// victimCapacity is more than the victim can store before the pipe that it reports
// to is full: nothing is evicted.
const victimCapacity = 1 << 30

// writeUntilKilled uses a store and says on standard output what is done.
func writeUntilKilled() {
	s, err := New(Options{Dir: os.Getenv(victimEnv), Capacity: victimCapacity}, nil, nil)
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	for i := 0; ; i++ {
		owner := fmt.Sprint("owner-", i/10)
		b := storetest.Block(i, 3000+i)
		switch {
		case i%10 == 9:
			err = s.Commit(owner)
			fmt.Println("committed", owner)
		case i%10 > 4:
			err = s.PutHeld(ctx, owner, b)
		case i%10 == 4:
			err = s.DeleteBlock(ctx, storetest.Block(i-1, 3000+i-1).Cid())
			fmt.Println("deleted", i-1)
		default:
			err = s.Put(ctx, b)
			fmt.Println("stored", i)
		}
		if err != nil {
			fmt.Println("failed:", err)
			return
		}
	}
}

// TestKill kills a process that writes, for real.
func TestKill(t *testing.T) {
	for _, lines := range []int{1, 7, 150, 400} {
		dir := t.TempDir()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), victimEnv+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var done []string
		in := bufio.NewScanner(out)
		for len(done) < lines && in.Scan() {
			done = append(done, in.Text())
		}
		if err := child.Process.Kill(); err != nil {
			t.Error(err)
		}
		for in.Scan() {
			done = append(done, in.Text())
		}
		child.Wait() // says that it was killed
		checkAfterKill(t, openStore(t, dir, victimCapacity), done)
	}
}

func checkAfterKill(t *testing.T, s *Store, done []string) {
	t.Helper()
	var committed []string
	for _, line := range done {
		var i int
		switch what, which, _ := strings.Cut(line, " "); what {
		case "committed":
			fmt.Sscanf(which, "owner-%d", &i)
			committed = append(committed, which)
			for n := 5; n < 9; n++ {
				b := storetest.Block(10*i+n, 3000+10*i+n)
				storetest.Check(t, s, b)
				if !s.Pinned(b.Cid()) {
					t.Errorf("block %d of %s is not pinned", 10*i+n, which)
				}
			}
		case "stored":
			fmt.Sscan(which, &i)
			if i%10 != 3 { // those are deleted a moment later
				storetest.Check(t, s, storetest.Block(i, 3000+i))
			}
		case "deleted":
			fmt.Sscan(which, &i)
			storetest.CheckMissing(t, s, storetest.Block(i, 3000+i).Cid())
		default:
			t.Fatal(line)
		}
	}
	owners := s.Owners()
	for _, owner := range committed {
		if !slices.Contains(owners, owner) {
			t.Errorf("%s is gone", owner)
		}
	}
	if len(owners) > len(committed)+1 {
		t.Errorf("%d owners, %d committed", len(owners), len(committed))
	}
}
