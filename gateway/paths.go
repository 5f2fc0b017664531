package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/path/resolver"
	"github.com/ipfs/go-cid"
)

// maxPathSteps bounds the steps that are remembered. One takes about 350 bytes.
const maxPathSteps = 1 << 15

// Steps that take much more are not remembered: longer names than file systems have, and
// shards that only somebody who means harm makes so deep.
const (
	maxStepName   = 255 // bytes
	maxStepBlocks = 16
)

// pathCache remembers single steps on immutable paths: which CID a name leads to
// in a folder. boxo's backend resolves each prefix of a path anew from the root,
// which costs the square of the depth; a step that is known costs a look-up, in
// whatever tree the folder occurs again. Steps never become wrong, so they end
// only when others need the room, or with a purge. Taking a step that is known is a use
// of the blocks that it stands for.
type pathCache struct {
	steps   *lru.Cache[pathStep, *pathTarget]
	blocks  *blockService
	resolve func(context.Context, path.ImmutablePath) (bgw.ContentPathMetadata, error)
	use     func(...cid.Cid)
}

// pathStep is a name in a folder.
type pathStep struct {
	folder cid.Cid
	name   string
}

// pathTarget is where a step leads.
type pathTarget struct {
	cid    cid.Cid
	blocks []cid.Cid // of the folder, which may be sharded
	used   moment
}

// errInsideBlock says that a path leads into the middle of a block. Only a resolution of
// it as a whole says where.
var errInsideBlock = errors.New("the path leads into a block")

// maxFollowed bounds the bytes that are decoded to follow a path into a block: boxo's
// resolver begins anew for each name of it.
const maxFollowed = 64 << 20

func newPathCache(service *blockService, resolve func(context.Context, path.ImmutablePath) (bgw.ContentPathMetadata, error), use func(...cid.Cid)) *pathCache {
	steps, _ := lru.New[pathStep, *pathTarget](maxPathSteps) // fails for sizes below 1 only
	return &pathCache{steps: steps, blocks: service, resolve: resolve, use: use}
}

// shortest returns a path of one CID that leads to the same content as p, and the
// CIDs that p passes on its way there. Its error is a *resolver.ErrNoLink where p leads
// nowhere, errInsideBlock, or why p cannot be followed now. With a trail in ctx, all
// blocks on the way are read.
func (c *pathCache) shortest(ctx context.Context, p path.ImmutablePath) (path.ImmutablePath, []cid.Cid, error) {
	names := strings.Split(p.String(), "/")[3:]
	at := p.RootCid()
	var passed []cid.Cid
	for _, name := range names {
		if name == "" {
			continue // a slash at the end
		}
		next, err := c.step(ctx, at, name, len(names))
		if err != nil {
			return p, nil, err
		}
		passed = append(passed, at)
		at = next
	}
	return path.FromCid(at), passed, nil
}

// step returns where a name leads, one of so many names of a path.
func (c *pathCache) step(ctx context.Context, folder cid.Cid, name string, names int) (cid.Cid, error) {
	rec := recordOf(ctx)
	if ctx.Value(trailKey{}) == nil {
		if to, ok := c.steps.Get(pathStep{folder, name}); ok {
			rec.pass(to.blocks)
			if to.used.first(time.Now()) {
				c.use(to.blocks...)
			}
			return to.cid, nil
		}
	}
	rec.beginStep()
	next, err := lookUp(ctx, c.blocks, folder, name)
	if errors.Is(err, errNoUnixFS) {
		next, err = c.insideBlock(ctx, folder, name, names)
	}
	if err != nil {
		return cid.Undef, err
	}
	to := &pathTarget{cid: next, blocks: rec.endStep(folder, next)}
	rec.pass(to.blocks)
	if len(name) <= maxStepName && len(to.blocks) <= maxStepBlocks {
		// The name came with a request, whose memory it would hold on to.
		c.steps.Add(pathStep{folder, strings.Clone(name)}, to)
	}
	return next, nil
}

// insideBlock follows a name in what is not UnixFS, by boxo's resolver, which decodes the
// block for it.
func (c *pathCache) insideBlock(ctx context.Context, folder cid.Cid, name string, names int) (cid.Cid, error) {
	b, err := c.blocks.GetBlock(ctx, folder)
	if err != nil {
		return cid.Undef, err
	}
	p, err := path.Join(path.FromCid(folder), name)
	if err != nil {
		return cid.Undef, err
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil || len(ip.Segments()) != 3 {
		return cid.Undef, &resolver.ErrNoLink{Name: name, Node: folder} // a name such as ".." is none
	}
	bytes, rec := decodedSize(b), recordOf(ctx)
	if len(b.RawData())*names > maxFollowed {
		return cid.Undef, fmt.Errorf("%w: it is too large for a path of %d names", errNode, names)
	}
	if f := c.blocks.pages.hold(ctx, bytes); f != nil {
		return cid.Undef, c.blocks.fail(rec, f)
	}
	md, err := c.resolve(ctx, ip)
	if err != nil || len(md.LastSegmentRemainder) == 0 {
		_ = c.blocks.pages.extend(rec, -bytes)
	}
	switch {
	case err != nil:
		return cid.Undef, err
	case len(md.LastSegmentRemainder) > 0:
		return cid.Undef, errInsideBlock // the place stays for the resolution as a whole
	}
	return md.LastSegment.RootCid(), nil
}

func (c *pathCache) clear() { c.steps.Purge() }
