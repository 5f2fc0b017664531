package record

import "github.com/ipfs/go-cid"

// Root returns the one CID under which a DAG is held, whatever CID a pin gives for
// it: the CIDv1. Pins of both versions share what is held.
func Root(c cid.Cid) cid.Cid {
	if c.Version() == 1 {
		return c
	}
	return cid.NewCidV1(c.Type(), c.Hash())
}
