package unixfs

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"github.com/spaolacci/murmur3"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/dag"
)

// maxFanout bounds the links of a shard, as other implementations do.
const maxFanout = 1024

var (
	// ErrNoName is wrapped by the errors of names that are not in a folder.
	ErrNoName = errors.New("no such name")
	// ErrNoFolder is wrapped by the errors of nodes that have no names: files, links, and
	// what is not UnixFS.
	ErrNoFolder = errors.New("not a folder")
)

// Find finds a name in a folder whose root is n, or among the links of a plain node; passed are the shards below the root that
// were read on the way, in order, also with an error. Errors wrap [ErrNoName],
// [ErrNoFolder] or [ErrNode], or are those of blocks.
func (n *Node) Find(ctx context.Context, blocks Blocks, name string) (c cid.Cid, passed []cid.Cid, err error) {
	var link dag.PBLink
	ok := false
	switch {
	case n.IsSharded():
		link, ok, passed, err = findInShards(ctx, blocks, n, name)
	case n.IsFolder(), n.IsPlain():
		link, ok, err = n.find(name)
	default:
		err = ErrNoFolder
	}
	if err != nil {
		return cid.Undef, passed, err
	}
	if !ok {
		return cid.Undef, passed, ErrNoName
	}
	c, err = link.CID()
	return c, passed, err
}

func findInShards(ctx context.Context, blocks Blocks, n *Node, name string) (link dag.PBLink, ok bool, passed []cid.Cid, err error) {
	for hash := newNameHash(name, n); ; {
		prefix, err := hash.prefix(n)
		if err != nil {
			return dag.PBLink{}, false, passed, err
		}
		below := false
		for links := n.links; !below; {
			link, ok, err := links.Next()
			if !ok || err != nil || string(link.Name) == prefix+name {
				return link, ok, passed, err
			}
			if below = string(link.Name) == prefix; below {
				var b *block.Verified
				if b, n, err = shardBelow(ctx, blocks, link); b != nil {
					passed = append(passed, b.Cid())
				}
				if err != nil {
					return dag.PBLink{}, false, passed, err
				}
			}
		}
	}
}

// nameHash is a name's hash, which says where the name is in a sharded folder
// (https://specs.ipfs.tech/unixfs/#dag-pb-hamtdirectory).
type nameHash struct {
	hash uint64
	left int // bits that no shard has looked at
}

// newNameHash begins at a shard, which may be one below another.
func newNameHash(name string, n *Node) nameHash {
	width, pad, err := n.shard()
	if err != nil {
		return nameHash{left: 64}
	}
	return nameHash{murmur3.Sum64([]byte(name)), 64 - width*n.depth(width, pad)}
}

// depth returns how many shards lie above this one, as far as its entries tell: each stands
// where the bits of its hash at that depth say.
func (n *Node) depth(width, pad int) int {
	levels := 64 / width
	may := uint64(1)<<levels - 1 // depths that all entries so far allow
	for links := n.links; may != 0; {
		link, ok, err := links.Next()
		if !ok || err != nil || may&(may-1) == 0 {
			break
		}
		if len(link.Name) <= pad {
			continue // a shard
		}
		hash := murmur3.Sum64(link.Name[pad:])
		for d := range levels {
			if string(link.Name[:pad]) != fmt.Sprintf("%0*X", pad, hash>>(64-width*(d+1))&(1<<width-1)) {
				may &^= 1 << d
			}
		}
	}
	if may == 0 {
		return 0 // no shard at all
	}
	return bits.TrailingZeros64(may)
}

// prefix returns what the name's link in the next shard begins with.
func (h *nameHash) prefix(n *Node) (string, error) {
	width, pad, err := n.shard()
	if err != nil {
		return "", err
	}
	if h.left -= width; h.left < 0 {
		return "", fmt.Errorf("%w: shards are nested too deeply", ErrNode)
	}
	return fmt.Sprintf("%0*X", pad, h.hash>>h.left&(1<<width-1)), nil
}

// shard returns how many bits of a name's hash a shard looks at, and how many digits of
// them stand before its links' names.
func (n *Node) shard() (width, pad int, err error) {
	if !n.IsSharded() || n.hashType != multihash.MURMUR3X64_64 || n.fanout < 2 || n.fanout > maxFanout ||
		bits.OnesCount64(n.fanout) != 1 || n.links.Left > int(n.fanout) {
		return 0, 0, fmt.Errorf("%w: a shard of %d with %d links", ErrNode, n.fanout, n.links.Left)
	}
	return bits.TrailingZeros64(n.fanout), len(fmt.Sprintf("%X", n.fanout-1)), nil
}

func shardBelow(ctx context.Context, blocks Blocks, link dag.PBLink) (*block.Verified, *Node, error) {
	c, err := link.CID()
	if err != nil {
		return nil, nil, err
	}
	b, err := blocks.Get(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	n, err := ReadNode(c.Prefix().Codec, b.RawData())
	return b, n, err
}

// Folder lists what a folder has, in the order of its blocks.
type Folder struct {
	// Visit, if not nil, is called for each shard below the root, and Skip tells those
	// that are left out.
	Visit func(*block.Verified)
	Skip  func(cid.Cid) bool

	ctx     context.Context
	blocks  Blocks
	open    []openShard
	held    int // bytes of the shards that are open
	shards  int // opened so far
	entries int // listed so far
}

type openShard struct {
	links dag.PBLinks
	node  *Node // nil: a folder in one block
	pad   int   // digits before names; 0 in a folder in one block
	size  int   // of the block
}

// NewFolder begins to list a folder whose root is n.
func NewFolder(ctx context.Context, blocks Blocks, n *Node) (*Folder, error) {
	f := &Folder{ctx: ctx, blocks: blocks}
	switch {
	case n.IsSharded():
		return f, f.enter(n, 0)
	case n.IsFolder():
		f.open = []openShard{{links: n.links}}
		return f, nil
	}
	return nil, ErrNoFolder
}

// enter takes in a shard. There cannot be more of them than entries, but for those on the
// way to the first.
func (f *Folder) enter(n *Node, size int) error {
	_, pad, err := n.shard()
	f.shards++
	f.held += size
	if err == nil && (f.shards > freeSteps+f.entries || f.held > maxOpenNodes) {
		err = fmt.Errorf("%w: %d shards for %d entries, and %d bytes of them above one", ErrNode, f.shards, f.entries, f.held)
	}
	f.open = append(f.open, openShard{n.links, n, pad, size})
	return err
}

// Next returns the next entry, under its name in the folder; ok is false at the end.
func (f *Folder) Next() (link dag.PBLink, ok bool, err error) {
	for len(f.open) > 0 {
		top := &f.open[len(f.open)-1]
		if link, ok, err = top.links.Next(); err != nil {
			return link, false, err
		}
		switch {
		case !ok:
			f.held -= top.size
			f.open = f.open[:len(f.open)-1]
		case top.pad == len(link.Name) && top.pad > 0:
			if err := f.descend(link); err != nil {
				return link, false, err
			}
		case len(link.Name) < top.pad:
			return link, false, fmt.Errorf("%w: a shard with the name %q", ErrNode, link.Name)
		default:
			f.entries++
			link.Name = link.Name[top.pad:]
			return link, true, nil
		}
	}
	return dag.PBLink{}, false, nil
}

// descend goes on with the shard that a link leads to.
func (f *Folder) descend(link dag.PBLink) error {
	c, err := link.CID()
	if err != nil || f.Skip != nil && f.Skip(c) {
		return err
	}
	b, n, err := shardBelow(f.ctx, f.blocks, link)
	if err != nil {
		return err
	}
	if f.Visit != nil {
		f.Visit(b)
	}
	return f.enter(n, len(b.RawData()))
}

// Seek has the list go on behind a name, or where it would be: in a sharded folder by its
// hash, which reads the shards on the way to the name only; in one block before the first
// name that is greater. It must come before [Folder.Next].
func (f *Folder) Seek(name string) error {
	if len(f.open) == 1 && f.open[0].node == nil {
		return f.open[0].seek(name)
	}
	var hash nameHash
	if len(f.open) > 0 && f.open[0].node != nil {
		hash = newNameHash(name, f.open[0].node)
	}
	for below := true; below && len(f.open) > 0; {
		top := &f.open[len(f.open)-1]
		prefix, err := hash.prefix(top.node)
		if err != nil {
			return err
		}
		if below, err = f.seekIn(top, prefix, name); err != nil {
			return err
		}
	}
	return nil
}

// seek goes behind a name in a folder of one block. Where the name is not there, links in
// the order that they should have (DAG-PB specification, "Link Sorting") say where it
// would be.
func (o *openShard) seek(name string) error {
	would, found := o.links, false // what is left behind where it would be
	for {
		before := o.links
		link, ok, err := o.links.Next()
		if err != nil || ok && string(link.Name) == name {
			return err
		}
		if !ok {
			if found {
				o.links = would
			}
			return nil
		}
		if !found && string(link.Name) > name {
			would, found = before, true
		}
	}
}

// seekIn goes behind a name in one shard, whose links' names begin with prefix. below says
// that the name is in the shard that was opened.
func (f *Folder) seekIn(top *openShard, prefix, name string) (below bool, err error) {
	for {
		before := top.links
		link, ok, err := top.links.Next()
		if err != nil || !ok {
			return false, err
		}
		switch at := string(link.Name); {
		case at == prefix+name:
			return false, nil
		case at == prefix:
			return true, f.descend(link)
		case len(at) < top.pad || at[:top.pad] < prefix:
		case at[:top.pad] > prefix:
			top.links = before
			return false, nil
		}
	}
}
