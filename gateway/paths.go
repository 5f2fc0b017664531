package gateway

import (
	"context"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	bgw "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
)

// maxPathSteps bounds the steps that are remembered. One takes about 250 bytes.
const maxPathSteps = 1 << 15

// pathCache remembers single steps on immutable paths: which CID a name leads to
// in a folder. boxo's backend resolves each prefix of a path anew from the root,
// which costs the square of the depth; a step that is known costs a look-up, in
// whatever tree the folder occurs again. Steps never become wrong, so they end
// only when others need the room, or with a purge.
type pathCache struct {
	steps   *lru.Cache[pathStep, cid.Cid]
	resolve func(context.Context, path.ImmutablePath) (bgw.ContentPathMetadata, error)
}

// pathStep is a name in a folder.
type pathStep struct {
	folder cid.Cid
	name   string
}

func newPathCache(resolve func(context.Context, path.ImmutablePath) (bgw.ContentPathMetadata, error)) *pathCache {
	steps, _ := lru.New[pathStep, cid.Cid](maxPathSteps) // fails for sizes below 1 only
	return &pathCache{steps: steps, resolve: resolve}
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
	key := pathStep{folder, name}
	if next, ok := c.steps.Get(key); ok {
		return next, true
	}
	p, err := path.Join(path.FromCid(folder), name)
	if err != nil {
		return cid.Undef, false
	}
	ip, err := path.NewImmutablePath(p)
	if err != nil || len(ip.Segments()) != 3 {
		return cid.Undef, false // a name such as ".." is none
	}
	md, err := c.resolve(ctx, ip)
	if err != nil || len(md.LastSegmentRemainder) > 0 {
		return cid.Undef, false
	}
	next := md.LastSegment.RootCid()
	// The name came with a request, whose memory it would hold on to.
	c.steps.Add(pathStep{folder, strings.Clone(name)}, next)
	return next, true
}

func (c *pathCache) clear() { c.steps.Purge() }
