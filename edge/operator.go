package edge

import (
	"context"
	"io"
	"mime/multipart"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/ingest"
)

// importer speaks the operator's door's language to the ingest room.
type importer struct{ in *ingest.Ingester }

func (i importer) Tar(ctx context.Context, r io.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	return imported(i.in.Tar(ctx, r, ingest.Params(p), reporting(progress)))
}

func (i importer) Multipart(ctx context.Context, r *multipart.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	return imported(i.in.Multipart(ctx, r, ingest.Params(p), reporting(progress)))
}

func (i importer) CAR(ctx context.Context, r io.Reader, p admin.Params, progress func(admin.Progress)) (admin.Imported, error) {
	return imported(i.in.CAR(ctx, r, ingest.Params(p), reporting(progress)))
}

func imported(r ingest.Result, err error) (admin.Imported, error) { return admin.Imported(r), err }

func reporting(progress func(admin.Progress)) func(ingest.Progress) {
	return func(p ingest.Progress) { progress(admin.Progress(p)) }
}

// purge makes this edge forget what a path names.
func (e *Edge) purge(ctx context.Context, path string, unpin bool) (admin.Purged, error) {
	p, err := e.ingest.Purge(ctx, &resident{local{cache: e.cache, store: e.store}}, path, unpin)
	return admin.Purged(p), err
}
