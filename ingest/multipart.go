package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Multipart imports the files of a form (multipart/form-data), as `curl -F
// file=@photo.jpg` sends them. A file's name may be a path ("css/main.css"), which
// makes folders; parts without a file name are ignored. The root follows the rule
// of [Ingester.Tar], and so does progress.
func (in *Ingester) Multipart(ctx context.Context, r *multipart.Reader, p task.Import, progress func(task.Progress)) (task.Imported, error) {
	return in.run(ctx, p, progress, func(ctx context.Context, s *session) ([]cid.Cid, error) {
		t := newTree(s.limit)
		if err := s.readForm(r, t); err != nil {
			return nil, err
		}
		if t.empty() {
			return nil, badInput("the form has no files: a part needs a file name, as `curl -F file=@photo.jpg` gives it")
		}
		root, err := t.root(ctx, s.sink, p.Wrap)
		return []cid.Cid{root}, err
	})
}

func (s *session) readForm(r *multipart.Reader, t *tree) error {
	for {
		// NextRawPart: a transfer encoding must not change the bytes that get a CID.
		part, err := r.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return formError(err)
		}
		if err := s.addPart(t, part); err != nil {
			return formError(err)
		}
	}
}

func (s *session) addPart(t *tree, part *multipart.Part) error {
	// Part.FileName would drop the folders.
	_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil {
		return badInput("a part of the form has no valid Content-Disposition: %w", err)
	}
	path, ok := params["filename"]
	if !ok {
		return nil
	}
	names, err := splitPath(path)
	if err != nil {
		return err
	}
	dir, name, err := t.vacant(path, names)
	if err != nil {
		return err
	}
	stored, err := s.addFile(path, part)
	if err != nil {
		return err
	}
	dir.entries[name] = node{stored: stored, file: true}
	return nil
}

func formError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, multipart.ErrMessageTooLarge) {
		return badInput("the form is cut off or damaged: %w", err)
	}
	if problem.Of(err) == problem.BadRequest {
		return err
	}
	return fmt.Errorf("read the form: %w", err)
}
