package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/ingest"
	"github.com/shoal-cdn/shoal/task"
)

// What the admin API takes.
const (
	tarType = "application/x-tar"
	carType = "application/vnd.ipld.car"
)

type addFlags struct {
	clientFlags
	name               string
	noPin, wrap, quiet bool
}

func newAdd(env Environment) *cobra.Command {
	var flags addFlags
	cmd := &cobra.Command{
		Use:   "add PATH...",
		Short: "Import files, a folder or a .car into a running edge; prints CID and URL",
		Long: `Import files, a folder or a CAR file into a running edge, and print the CID and
the URL under which it is served.

One folder becomes the root of a website; one file becomes a file; several paths
are put into a folder. A single path that ends in .car is imported as an archive
of blocks. Hidden files are included; symbolic links are kept as links.

What is added is pinned: the fleet keeps it on as many edges as pin.replicas says,
and never evicts it until it is unpinned with shoal pin rm.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			return flags.run(cmd.Context(), env, paths)
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&flags.name, "name", "", "a `NAME` for people, kept with the import")
	cmd.Flags().BoolVar(&flags.noPin, "no-pin", false, "only cache it: it may be evicted")
	cmd.Flags().BoolVar(&flags.wrap, "wrap", false, "put a single file into a folder, so that its URL ends in its name")
	cmd.Flags().BoolVarP(&flags.quiet, "quiet", "q", false, "print the CID and nothing else")
	return cmd
}

func (f *addFlags) run(ctx context.Context, env Environment, paths []string) error {
	edge, err := f.connect(env)
	if err != nil {
		return err
	}
	defer edge.Close()
	body, contentType, total, err := source(ctx, paths)
	if err != nil {
		return err
	}
	defer body.Close()

	bar := newProgress(env, total, f.quiet || f.json)
	params := task.Import{Pin: !f.noPin, Name: f.name, Wrap: f.wrap}
	result, err := edge.Add(ctx, contentType, body, params, func(p task.Progress) {
		bar.show(p)
		if f.json {
			_ = encoder(env.Out).Encode(map[string]task.Progress{"progress": p})
		}
	})
	bar.finish()
	if err != nil {
		return err
	}
	return f.print(env.Out, result)
}

func (f *addFlags) print(out io.Writer, r admin.AddResult) (err error) {
	switch {
	case f.json:
		err = encoder(out).Encode(r)
	case f.quiet:
		_, err = printf(out, "%s\n", r.CID)
	default:
		kept := "cached, not pinned"
		if r.Pinned {
			kept = "pinned as " + strings.Join(r.Pins, ", ")
		}
		_, err = printf(out, "cid   %s\nurl   %s\n      %s files, %s in %s blocks, %s\n", r.CID, r.URL,
			humanize.Comma(r.Files), humanize.IBytes(uint64(r.Bytes)), humanize.Comma(r.Blocks), kept)
	}
	return err
}

// source opens what is to be added, with its content type and its size in bytes.
func source(ctx context.Context, paths []string) (io.ReadCloser, string, int64, error) {
	if len(paths) == 1 && strings.EqualFold(filepath.Ext(paths[0]), ".car") {
		file, err := os.Open(paths[0])
		if err != nil {
			return nil, "", 0, fmt.Errorf("add: %w", err)
		}
		info, err := file.Stat()
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a folder", paths[0])
		}
		if err != nil {
			return nil, "", 0, errors.Join(fmt.Errorf("add: %w", err), file.Close())
		}
		return file, carType, info.Size(), nil
	}
	total, err := ingest.Measure(ctx, paths)
	if err != nil {
		return nil, "", 0, err
	}
	return pack(ctx, paths), tarType, total.Bytes, nil
}

// pack streams paths as a tar archive. Closing the reader ends the packing.
func pack(ctx context.Context, paths []string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		// Small files would otherwise be sent in many small pieces.
		buffered := bufio.NewWriterSize(w, 256<<10)
		err := ingest.Pack(ctx, buffered, paths, nil)
		if err == nil {
			err = buffered.Flush()
		}
		w.CloseWithError(err)
	}()
	return r
}
