package gateway

import (
	"context"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
)

// maxPathSteps bounds the steps that are remembered. One takes about 350 bytes.
const maxPathSteps = 1 << 15

// pathCache remembers single steps on immutable paths: which CID a name leads to
// in a folder. boxo's backend resolves each prefix of a path anew from the root,
// which costs the square of the depth; a step that is known costs a look-up, in
// whatever tree the folder occurs again. Steps never become wrong, so they end
// only when others need the room, or with a purge. Taking a step that is known is a use
// of the blocks that it stands for.
type pathCache struct {
	steps   *lru.Cache[pathStep, *pathTarget]
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

func newPathCache(resolve func(context.Context, path.ImmutablePath) (bgw.ContentPathMetadata, error), use func(...cid.Cid)) *pathCache {
	steps, _ := lru.New[pathStep, *pathTarget](maxPathSteps) // fails for sizes below 1 only
	return &pathCache{steps: steps, resolve: resolve, use: use}
}

// shortest returns a path of one CID that leads to the same content as p, and the
// CIDs that p passes on its way there. It reports false when there is none: the
// path leads nowhere, into the middle of a block, or cannot be followed now. Only
// a resolution of p as a whole says what is wrong then.
func (c *pathCache) shortest(ctx context.Context, p path.ImmutablePath) (path.ImmutablePath, []cid.Cid, bool) {
	names := strings.Split(p.String(), "/")[3:]
	at := p.RootCid()
	var passed []cid.Cid
	for _, name := range names {
		if name == "" {
			continue // a slash at the end
		}
		next, ok := c.step(ctx, at, name)
		if !ok {
			return p, nil, false
		}
		passed = append(passed, at)
		at = next
	}
	return path.FromCid(at), passed, true
}

func (c *pathCache) step(ctx context.Context, folder cid.Cid, name string) (cid.Cid, bool) {
	rec := recordOf(ctx)
	if to, ok := c.steps.Get(pathStep{folder, name}); ok {
		rec.pass(to.blocks)
		if to.used.first(time.Now()) {
			c.use(to.blocks...)
		}
		return to.cid, true
	}
	p, err := path.Join(path.FromCid(folder), name)
	if err != nil {
		return cid.Undef, false
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil || len(ip.Segments()) != 3 {
		return cid.Undef, false // a name such as ".." is none
	}
	rec.beginStep()
	md, err := c.resolve(ctx, ip)
	if err != nil || len(md.LastSegmentRemainder) > 0 {
		return cid.Undef, false
	}
	to := &pathTarget{cid: md.LastSegment.RootCid(), blocks: rec.endStep(folder, md.LastSegment.RootCid())}
	rec.pass(to.blocks)
	// The name came with a request, whose memory it would hold on to.
	c.steps.Add(pathStep{folder, strings.Clone(name)}, to)
	return to.cid, true
}

func (c *pathCache) clear() { c.steps.Purge() }
