package gateway

import (
	"fmt"
	"math"
	"testing"

	"github.com/ipfs/boxo/ipld/merkledag"
	pb "github.com/ipfs/boxo/ipld/unixfs/pb"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-cdn/shoal/block"
)

// node stores a UnixFS node that says whatever it is told to.
func (s *shelf) node(t testing.TB, data *pb.Data, links ...*ipld.Link) cid.Cid {
	t.Helper()
	b, err := proto.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	n := merkledag.NodeWithData(b)
	if err := n.SetCidBuilder(v1); err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if err := n.AddRawLink(l.Name, l); err != nil {
			t.Fatal(err)
		}
	}
	s.put(n.Cid(), n.RawData(), block.Memory)
	return n.Cid()
}

// Content that is not what it says it is, is the content's fault: 422 (RFC 9110, section
// 15.5.21) where that is known before the first byte, a body that breaks off where it is
// not, and never 500.
func TestContentThatLies(t *testing.T) {
	e := newEdge(t, nil)
	leaf := e.shelf.raw(t, cid.Raw, []byte("0123456789"))
	link := func(name string, c cid.Cid) *ipld.Link { return &ipld.Link{Name: name, Cid: c, Size: 10} }
	file := func(size uint64, blocks []uint64, links ...cid.Cid) cid.Cid {
		data := &pb.Data{Type: pb.Data_File.Enum(), Filesize: &size, Blocksizes: blocks}
		var list []*ipld.Link
		for _, c := range links {
			list = append(list, link("", c))
		}
		return e.shelf.node(t, data, list...)
	}
	folder := func(name string, c cid.Cid) cid.Cid {
		return e.shelf.node(t, &pb.Data{Type: pb.Data_Directory.Enum()}, link(name, c))
	}
	shard := func(fanout uint64, links ...*ipld.Link) cid.Cid {
		murmur := uint64(0x22)
		return e.shelf.node(t, &pb.Data{Type: pb.Data_HAMTShard.Enum(), Fanout: &fanout, HashType: &murmur, Data: []byte{1}}, links...)
	}
	empty := e.shelf.node(t, &pb.Data{Type: pb.Data_Directory.Enum()})
	const short = 0 // the body breaks off
	for name, tc := range map[string]struct {
		c      cid.Cid
		path   string
		status int
	}{
		"a negative size":               {file(1<<63, []uint64{10}, leaf), "", 422},
		"a negative size, no links":     {file(math.MaxUint64, nil), "", 422},
		"a negative leaf":               {file(math.MaxUint64, []uint64{math.MaxUint64}, leaf), "", 422},
		"a leaf that is shorter":        {file(30, []uint64{20, 10}, leaf, leaf), "", 422},
		"a leaf that is longer":         {file(15, []uint64{5, 10}, leaf, leaf), "", 422},
		"more bytes than there are":     {file(100, []uint64{10}, leaf), "", short},
		"more leaves than there are":    {file(20, []uint64{10, 10}, leaf), "", short},
		"a folder as a leaf":            {file(10, []uint64{10}, empty), "", 422},
		"a dag-cbor block as a leaf":    {file(10, []uint64{10}, e.shelf.raw(t, cid.DagCBOR, []byte{0xa0})), "", 422},
		"garbage as a leaf":             {file(10, []uint64{10}, e.shelf.raw(t, cid.DagProtobuf, []byte{0xff})), "", short},
		"a type that nobody knows":      {e.shelf.node(t, &pb.Data{Type: pb.Data_DataType(99).Enum()}), "", 422},
		"a folder as the page":          {folder("index.html", empty), "/", 422},
		"a page that lies":              {folder("index.html", file(1<<63, []uint64{10}, leaf)), "/", 422},
		"a shard with an odd fanout":    {shard(3, link("00a", leaf)), "/", 422},
		"a shard with a name too short": {shard(256, link("0", leaf)), "/", 422},
		"a file as a shard of a folder": {shard(256, link("00", leaf)), "/", 422},
		"garbage as dag-cbor":           {e.shelf.raw(t, cid.DagCBOR, []byte{0xff}), "/", 422},
	} {
		url := "http://127.0.0.1/ipfs/" + tc.c.String() + tc.path
		for range 2 { // the second time perhaps from memory
			a := e.get(url)
			if broken := a.StatusCode == 200 && a.Header.Get("Content-Length") != fmt.Sprint(len(a.body)); a.StatusCode != tc.status && !(tc.status == short && broken) {
				t.Errorf("%s: %d %.100q, want %d", name, a.StatusCode, a.body, tc.status)
			}
			if a.StatusCode == 422 {
				a.header(t, "Cache-Control", "no-store").header(t, "Etag", "")
			}
		}
		for _, how := range []string{"Range: bytes=2-4", "Range: bytes=-2", "Accept: text/html", `If-None-Match: "x"`} {
			for _, q := range []string{"", "/", "/x", "?filename=a.txt", "?format=tar", "?format=dag-json"} {
				for _, method := range []string{"GET", "HEAD"} {
					if a := e.do(method, "http://127.0.0.1/ipfs/"+tc.c.String()+q, how); a.StatusCode >= 500 {
						t.Errorf("%s%s %s: %d %.100q", name, q, how, a.StatusCode, a.body)
					}
				}
			}
		}
	}
}

// A file that was answered before is read by a map of its blocks. One whose blocks are
// not as the map has them gets 422, too, and the map is not used again.
func TestAMapThatLies(t *testing.T) {
	e := newEdge(t, nil)
	big := e.shelf.file(t, randomBytes(9, 3<<20)).Cid()
	url := "http://127.0.0.1/ipfs/" + big.String()
	e.get(url).want(t, 200, "")
	route := e.hot.lookup("127.0.0.1", "/ipfs/"+big.String())
	if route == nil || route.file == nil {
		t.Fatal("the file was not mapped")
	}
	route.file.leaves[0].end-- // as if the index had said so
	e.get(url, "Range: bytes=0-9999").want(t, 422, "not as its index")
	e.get(url, "Range: bytes=0-9999").want(t, 206, "")
}
