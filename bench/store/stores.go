package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	boxo "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-datastore"
	flatfs "github.com/ipfs/go-ds-flatfs"
	pebble "github.com/ipfs/go-ds-pebble"

	"github.com/shoal-cdn/shoal/blockstore"
)

// contender opens one kind of store in a folder. None of them syncs on a put, as
// fits a cache; the datastores are used the way Kubo uses them, through boxo's
// blockstore, with their own defaults otherwise.
type contender struct {
	name string
	open func(dir string, capacity int64) (boxo.Blockstore, io.Closer, error)
}

// Pebble comes last: it goes on writing in the background.
var contenders = []contender{
	{"shoal", func(dir string, capacity int64) (boxo.Blockstore, io.Closer, error) {
		s, err := blockstore.New(blockstore.Options{Dir: dir, Capacity: capacity}, nil, nil)
		return s, s, err
	}},
	{"flatfs", func(dir string, _ int64) (boxo.Blockstore, io.Closer, error) {
		d, err := flatfs.CreateOrOpen(dir, flatfs.NextToLast(2), false)
		return overDatastore(d, err)
	}},
	{"pebble", func(dir string, _ int64) (boxo.Blockstore, io.Closer, error) {
		d, err := pebble.NewDatastore(dir)
		return overDatastore(d, err)
	}},
}

func overDatastore(d datastore.Batching, err error) (boxo.Blockstore, io.Closer, error) {
	if err != nil {
		return nil, nil, err
	}
	// flatfs takes no nested keys, so the prefix of the keys is left out for all.
	return boxo.NewBlockstore(d, boxo.NoPrefix()), d, nil
}

// withStore runs f on a store in a new folder, which is removed afterwards.
func (c contender) withStore(parent string, capacity int64, f func(dir string, s boxo.Blockstore) error) error {
	dir, err := os.MkdirTemp(parent, c.name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, closer, err := c.open(dir, capacity)
	if err != nil {
		return err
	}
	return errors.Join(f(dir, s), closer.Close())
}

// folderBytes is what the files below dir take.
func folderBytes(dir string) (total int64) {
	filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // compacted away meanwhile
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

var background = context.Background()
