package admin

import (
	"context"
	"net/http"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/member"
)

// Fleet is what the operator's door can ask of the fleet that this edge belongs to.
type Fleet interface {
	// Members returns this edge and all siblings that it knows of, by name.
	Members() []member.Member
	// Where says which edges a block is at home on, and which hold it now.
	Where(ctx context.Context, c cid.Cid) (member.Whereabouts, error)
	// Purge has every sibling forget what path names, and says how each fared.
	Purge(ctx context.Context, path string, unpin bool) []SiblingPurge
}

// MembersResult is the answer to the question who is in the fleet.
type MembersResult struct {
	Members []member.Member `json:"members"`
}

// SiblingPurge says what a purge did on another edge.
type SiblingPurge struct {
	Edge    string `json:"edge"`
	Removed int64  `json:"removed"` // blocks
	Bytes   int64  `json:"bytes"`
	Kept    int64  `json:"kept"`
	Error   string `json:"error,omitempty"`
}

func (a *Admin) members(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, MembersResult{Members: a.deps.Fleet.Members()})
}

func (a *Admin) where(w http.ResponseWriter, r *http.Request) {
	query, err := parseQuery(r, "cid")
	if err != nil {
		a.fail(w, r, err)
		return
	}
	c, err := cid.Decode(query.Get("cid"))
	if err != nil {
		a.fail(w, r, badRequest("cid %q: expected a CID: %v", clip(query.Get("cid")), err))
		return
	}
	found, err := a.deps.Fleet.Where(r.Context(), c)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, found)
}
