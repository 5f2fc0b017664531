package placement

import (
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

func rawCID(t testing.TB, i int) cid.Cid { return cid.NewCidV1(cid.Raw, key(t, i)) }

func admission(t *testing.T, opts AdmissionOptions) *Admission {
	t.Helper()
	a, err := NewAdmission(opts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestHomesKeepTheirBlocks(t *testing.T) {
	a := admission(t, AdmissionOptions{DiskBytes: 100, HotShare: 0, Remembered: 1})
	for i := range 1000 {
		if !a.ToDisk(rawCID(t, i), make([]byte, 50), true, false) {
			t.Fatal("a block at home was turned away")
		}
	}
}

func TestOthersKeepWhatIsFetchedAgain(t *testing.T) {
	a := admission(t, DefaultAdmissionOptions())
	if a.ToDisk(rawCID(t, 1), []byte("x"), false, false) {
		t.Fatal("kept at the first fetch")
	}
	if !a.ToDisk(cid.NewCidV1(cid.DagCBOR, key(t, 1)), []byte("x"), false, false) {
		t.Fatal("not kept when fetched again")
	}
}

func TestOthersKeepIndexBlocks(t *testing.T) {
	a := admission(t, DefaultAdmissionOptions())
	node := cid.NewCidV1(cid.DagProtobuf, key(t, 1))
	leaf := cid.NewCidV1(cid.DagProtobuf, key(t, 2))
	if !a.ToDisk(node, []byte{0x12, 0x02, 0x08, 0x01}, false, false) {
		t.Fatal("a node with links was turned away")
	}
	if a.ToDisk(leaf, []byte{0x0a, 0x02, 0x08, 0x02}, false, false) {
		t.Fatal("a node without links was kept at the first fetch")
	}
}

func TestOldFetchesAreForgotten(t *testing.T) {
	opts := DefaultAdmissionOptions()
	opts.Remembered = 64
	a := admission(t, opts)
	kept := 0
	for range 2 {
		for i := range 10000 { // a scan: nothing comes again before much else
			if a.ToDisk(rawCID(t, i), []byte("x"), false, false) {
				kept++
			}
		}
	}
	if kept > 0 {
		t.Fatalf("a scan left %d blocks on disk", kept)
	}
}

func TestHotCopiesGetABoundedShare(t *testing.T) {
	const size, disk = 100, 100_000
	a := admission(t, AdmissionOptions{DiskBytes: disk, HotShare: 0.1, Remembered: 1 << 16})
	hot, home := 0, 0
	for i := range 20000 {
		c := rawCID(t, i%5000)
		if a.ToDisk(c, make([]byte, size), false, false) {
			hot += size
		}
		if i%2 == 0 {
			a.ToDisk(c, make([]byte, size), true, false)
			home += size
		}
	}
	// The initial budget is a tenth of the disk; from then on it is a tenth of
	// what is written.
	if most := disk/10 + (hot+home)/10; hot > most || hot < most*3/4 {
		t.Fatalf("%d bytes of copies beside %d at home, want at most %d", hot, home, most)
	}
}

func TestAdmissionOptionsAreChecked(t *testing.T) {
	for field, opts := range map[string]AdmissionOptions{
		"DiskBytes":  {DiskBytes: -1, HotShare: 0.1, Remembered: 1},
		"HotShare":   {DiskBytes: 1, HotShare: 1, Remembered: 1},
		"Remembered": {DiskBytes: 1, HotShare: 0.1, Remembered: 0},
	} {
		if _, err := NewAdmission(opts); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}

// What is kept for others, though it is at home elsewhere, has to be asked for twice: at
// any distance while the disk is not full, soon when it is.
func TestNearCopiesAreAskedForTwice(t *testing.T) {
	const size = 1000
	a, err := NewAdmission(AdmissionOptions{DiskBytes: 100 * size, Remembered: 4096})
	if err != nil {
		t.Fatal(err)
	}
	pass := func(from, n int) {
		for i := range n {
			a.ToDisk(rawCID(t, from+i), make([]byte, size), false, true)
		}
	}
	again := func(i int) bool { return a.ToDisk(rawCID(t, i), make([]byte, size), false, true) }
	if again(0) {
		t.Error("kept at the first fetch")
	}
	if pass(1, 200); !again(0) {
		t.Error("not kept at the second, with room left")
	}
	for i := range 100 {
		a.ToDisk(rawCID(t, 10000+i), make([]byte, size), true, false)
	}
	again(20000)
	if pass(30000, 10); !again(20000) {
		t.Error("not kept although asked for again soon")
	}
	again(20001)
	if pass(40000, 50); again(20001) {
		t.Error("kept although it is not asked for often, and the disk is full")
	}
}
