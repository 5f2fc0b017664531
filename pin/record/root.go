package record

import (
	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/dag"
)

// Root returns the one CID under which a DAG is held, whatever CID a pin gives for
// it. Pins of both versions share what is held.
func Root(c cid.Cid) cid.Cid { return dag.Canonical(c) }
