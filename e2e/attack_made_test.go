//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/ipld/go-car/v2"
	"github.com/ipld/go-car/v2/storage"
	"github.com/multiformats/go-multihash"
)

// carFile writes blocks into a CAR and returns its path and their CIDs.
func carFile(t *testing.T, nodes ...ipld.Node) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attack.car")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := storage.NewWritable(f, []cid.Cid{nodes[0].Cid()}, car.WriteAsCarV1(true))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if err := w.Put(t.Context(), n.Cid().KeyString(), n.RawData()); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func rawNode(t *testing.T, codec uint64, data []byte) ipld.Node {
	t.Helper()
	n, err := merkledag.NewRawNodeWPrefix(data, cid.Prefix{Version: 1, Codec: codec, MhType: multihash.SHA2_256, MhLength: -1})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wideFolder is a folder of n files in one block.
func wideFolder(t *testing.T, n int, file ipld.Node) ipld.Node {
	t.Helper()
	folder := unixfs.EmptyDirNode()
	if err := folder.SetCidBuilder(merkledag.V1CidPrefix()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := folder.AddRawLink(fmt.Sprintf("%05d", i), &ipld.Link{Cid: file.Cid(), Size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// A hundred strangers who ask for pages of a folder of 40 000 files, of dag-cbor values of
// 1.8 MB, and for what else is made of them, take no more memory than config.yaml says, and
// a visitor of a page goes on being served.
func TestMadeAnswersStayWithinTheMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the peak of a process's memory is read from /proc")
	}
	file := rawNode(t, cid.Raw, []byte("x"))
	folder := wideFolder(t, 40_000, file)
	value := rawNode(t, cid.DagCBOR, append([]byte{0x9a, 0, 0x1b, 0x77, 0x40}, make([]byte, 1_800_000)...))
	shown := rawNode(t, cid.DagCBOR, append([]byte{0x99, 0x4e, 0x20}, make([]byte, 20_000)...))
	e := start(t, t.TempDir(), "gateway.serve=any", "cache.memory=64MiB",
		"origins=[{type: car, path: "+carFile(t, folder, file, value, shown)+"}]")

	a := &attacked{edge: e, page: "/ipfs/" + file.Cid().String(), body: file.RawData()}
	a.honest(t)
	pages := []string{folder.Cid().String() + "/", value.Cid().String() + "/", shown.Cid().String() + "/",
		folder.Cid().String() + "/none", value.Cid().String() + "/7", folder.Cid().String() + "/39999"}
	exports := []string{folder.Cid().String() + "?format=tar", folder.Cid().String() + "?format=car"}
	a.under(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(inTime(t), 10*time.Second)
		defer cancel()
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() { a.crowd(ctx, t, 100, pages) })
		all.Go(func() { a.crowd(ctx, t, 50, exports) })
	})
	a.aftermath(t, 200)
}

// crowd has so many strangers ask for pages until ctx ends. Who cannot be served now is
// told to come back (RFC 9110, section 15.6.4).
func (a *attacked) crowd(ctx context.Context, t *testing.T, strangers int, urls []string) {
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for i := range strangers {
		all.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				status, err := a.ask(ctx, urls[n%len(urls)])
				if err != nil && ctx.Err() == nil {
					t.Errorf("%s: %v", urls[n%len(urls)], err)
				}
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	t.Logf("%d strangers: %v", strangers, answers)
	for status := range answers {
		switch status {
		case 0, http.StatusOK, http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusServiceUnavailable:
		default:
			t.Errorf("%d answers are %d", answers[status], status)
		}
	}
	if answers[http.StatusOK] == 0 {
		t.Error("nobody was served")
	}
}

// ask asks for content as a browser does, and reads what comes.
func (e *edge) ask(ctx context.Context, path string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.Gateway+"/ipfs/"+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept", "text/html")
	if strings.Contains(path, "format=") {
		r.Header.Del("Accept")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// peakMemory is the most that was resident of a process, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
