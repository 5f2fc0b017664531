package edge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"sync"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/swarm"
)

// importer speaks the operator's door's language to the ingest room, and has pins be
// made of what is to stay.
type importer struct{ *Edge }

func (i importer) Tar(ctx context.Context, r io.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	done, err := i.ingest.Tar(ctx, r, ingest.Params(p), reporting(progress))
	return i.imported(ctx, p, done, err)
}

func (i importer) Multipart(ctx context.Context, r *multipart.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	done, err := i.ingest.Multipart(ctx, r, ingest.Params(p), reporting(progress))
	return i.imported(ctx, p, done, err)
}

func (i importer) CAR(ctx context.Context, r io.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	done, err := i.ingest.CAR(ctx, r, ingest.Params(p), reporting(progress))
	return i.imported(ctx, p, done, err)
}

// imported makes pins of what an import holds.
func (i importer) imported(ctx context.Context, p admin.Params, r ingest.Result, err error) (admin.Imported, error) {
	done := admin.Imported{CID: r.CID, Roots: r.Roots, Bytes: r.Bytes, Files: r.Files, Blocks: r.Blocks}
	if err != nil || !p.Pin {
		return done, err
	}
	for _, root := range r.Roots {
		view, err := i.pins.Import(ctx, record.Request{CID: root, Name: p.Name})
		if err != nil {
			return done, fmt.Errorf("%s is on this edge to stay, but the fleet has no pin of it: %w", root, err)
		}
		done.Pins = append(done.Pins, view.ID)
	}
	return done, nil
}

func reporting(progress func(admin.Progress)) func(ingest.Progress) {
	return func(p ingest.Progress) { progress(admin.Progress(p)) }
}

// purgeHere makes this edge forget what a path names.
func (e *Edge) purgeHere(ctx context.Context, path string, unpin bool) (admin.Purged, error) {
	if unpin {
		if err := e.dropPins(ctx, path); err != nil {
			return admin.Purged{}, err
		}
	}
	p, err := e.ingest.Purge(ctx, local{e.cache}, path, unpin)
	e.gateway.Forget() // whatever was deleted, even when something could not be
	return admin.Purged(p), err
}

// purgeCall is the method by which siblings are asked to purge.
const purgeCall = "purge"

type purgeRequest struct {
	Path  string `json:"path"`
	Unpin bool   `json:"unpin"`
}

// purgeForSibling answers a [purgeCall]. Having nothing to forget is no error.
func (e *Edge) purgeForSibling(ctx context.Context, from string, body json.RawMessage) (any, error) {
	var request purgeRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	e.build.Log.Info("purge asked for by a sibling", "sibling", from, "path", request.Path, "unpin", request.Unpin)
	done, err := e.purgeHere(ctx, request.Path, request.Unpin)
	if err != nil && problem.Of(err) != problem.NotFound {
		return nil, err
	}
	return admin.SiblingPurge{Removed: done.Blocks, Bytes: done.Bytes, Kept: done.Kept}, nil
}

// fleet speaks the operator's door's language to the swarm.
type fleet struct{ *swarm.Swarm }

var _ admin.Fleet = fleet{}

// Purge implements [admin.Fleet].
func (f fleet) Purge(ctx context.Context, path string, unpin bool) []admin.SiblingPurge {
	var siblings []member.Member
	for _, m := range f.Members() {
		if !m.Self {
			siblings = append(siblings, m)
		}
	}
	done := make([]admin.SiblingPurge, len(siblings))
	var wg sync.WaitGroup
	for i, m := range siblings {
		wg.Go(func() {
			err := errors.New(string(m.State)) // one that cannot be reached is not waited for
			if m.InRing() || m.State == member.Leaving {
				err = f.Call(ctx, m.Name, purgeCall, purgeRequest{path, unpin}, &done[i])
			}
			done[i].Edge = m.Name
			if err != nil {
				done[i].Error = err.Error()
			}
		})
	}
	wg.Wait()
	return done
}
