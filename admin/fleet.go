package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/member"
	"github.com/shoal-cdn/shoal/problem"
	"github.com/shoal-cdn/shoal/task"
)

// Fleet is what the admin API can ask of the fleet that this edge belongs to.
type Fleet interface {
	// Members returns this edge and all siblings that it knows of, by name.
	Members() []member.Member
	// Where says which edges a block is at home on, and which hold it now.
	Where(ctx context.Context, c cid.Cid) (member.Whereabouts, error)
	// Call has a member answer one of its [Admin.Handlers].
	Call(ctx context.Context, member, method string, request, response any) error
}

// MembersResult is the answer to the question who is in the fleet.
type MembersResult struct {
	Members []member.Member `json:"members"`
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

// purgeCall is the method by which siblings are asked to purge.
const purgeCall = "purge"

type purgeRequest struct {
	Path  string `json:"path"`
	Unpin bool   `json:"unpin"`
}

// Handlers are the methods that siblings call, to be registered before the first call can
// come.
func (a *Admin) Handlers() map[string]func(ctx context.Context, from string, request json.RawMessage) (any, error) {
	return map[string]func(context.Context, string, json.RawMessage) (any, error){purgeCall: a.purgeForSibling}
}

// purgeForSibling answers a [purgeCall]. Having nothing to forget is no error.
func (a *Admin) purgeForSibling(ctx context.Context, from string, body json.RawMessage) (any, error) {
	var request purgeRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return nil, fmt.Errorf("purge: %w", err)
	}
	a.log.Info("purge asked for by a sibling", "sibling", from, "path", request.Path, "unpin", request.Unpin)
	done, err := a.deps.Purge(ctx, request.Path, request.Unpin)
	if err != nil && problem.Of(err) != problem.NotFound {
		return nil, err
	}
	return done.Purged, nil
}

// purgeSiblings has every sibling forget what a path names, and says how each fared.
func (a *Admin) purgeSiblings(ctx context.Context, request purgeRequest) []task.SiblingPurge {
	siblings := slices.DeleteFunc(a.deps.Fleet.Members(), func(m member.Member) bool { return m.Self })
	done := make([]task.SiblingPurge, len(siblings))
	var wg sync.WaitGroup
	for i, m := range siblings {
		wg.Go(func() {
			err := errors.New(string(m.State)) // one that cannot be reached is not waited for
			if m.InRing() || m.State == member.Leaving {
				err = a.deps.Fleet.Call(ctx, m.Name, purgeCall, request, &done[i].Purged)
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
