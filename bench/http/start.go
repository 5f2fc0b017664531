package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/blockstore"
)

// fillSize is the length of the blocks in the store of the part "start", in bytes.
const fillSize = 1 << 10

// start measures how long it takes from the start of the process until the first
// hit was answered, with a store of many blocks: after a clean stop, and after a
// kill.
func (b *bench) start(ctx context.Context, p part) error {
	files := filepath.Join(b.dir, "files")
	if err := writeFiles(files, p.files); err != nil {
		return err
	}
	root, err := b.addFiles(ctx, files, p.set)
	if err != nil {
		return err
	}
	if err := b.fill(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "The store has %d blocks of %d bytes; its pages are in the kernel's cache.\n\n", b.Blocks, fillSize)
	fmt.Fprint(b.out, "| start after | first answer, median | slowest | resident memory then |\n|---|---|---|---|\n")
	for _, how := range []struct {
		name   string
		signal syscall.Signal
	}{{"a clean stop", syscall.SIGTERM}, {"a kill", syscall.SIGKILL}} {
		var took []time.Duration
		var memory []int64
		if _, _, err := b.firstAnswer(ctx, p, root, files, how.signal); err != nil {
			return err // not counted: it follows what came before
		}
		for range b.Rounds {
			first, m, err := b.firstAnswer(ctx, p, root, files, how.signal)
			if err != nil {
				return err
			}
			took, memory = append(took, first), append(memory, m)
		}
		slices.Sort(took)
		slices.Sort(memory)
		fmt.Fprintf(b.out, "| %s | **%s** | %s | %s |\n", how.name, short(took[len(took)/2]), short(took[len(took)-1]), mib(memory[len(memory)/2]))
	}
	return nil
}

// fill puts blocks into the store of the edge, which is stopped.
func (b *bench) fill(ctx context.Context) (err error) {
	o := blockstore.DefaultOptions()
	o.Dir = filepath.Join(b.data(), "blocks")
	s, err := blockstore.New(o, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i := range b.Blocks {
		data := make([]byte, fillSize)
		if _, err := rand.Read(data); err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(data, uint64(i))
		hash, err := multihash.Sum(data, multihash.SHA2_256, -1)
		if err != nil {
			return err
		}
		v, err := block.New(cid.NewCidV1(cid.Raw, hash), data)
		if err != nil {
			return err
		}
		if err := s.Put(ctx, v); err != nil {
			return err
		}
	}
	if n := s.Stats().Blocks; int(n) < b.Blocks {
		return fmt.Errorf("the store kept %d of %d blocks", n, b.Blocks)
	}
	return nil
}

// firstAnswer starts the edge over what it stored, takes the time until the first
// answer, checks that answer, and ends the process with the signal: it decides what
// the next start finds.
func (b *bench) firstAnswer(ctx context.Context, p part, root, files string, end syscall.Signal) (time.Duration, int64, error) {
	begin := time.Now()
	s, err := b.serveEdge(ctx, p.set, root)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		_ = s.cmd.Process.Signal(end)
		_ = s.cmd.Wait()
	}()
	for err = check(s, besideCase, files); err != nil; err = check(s, besideCase, files) {
		if time.Since(begin) > time.Minute || ctx.Err() != nil {
			return 0, 0, errors.Join(ctx.Err(), err)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(begin), s.memory("VmRSS"), nil
}
