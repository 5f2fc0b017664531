package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/pin/record"
)

// AddPin pins a CID or a path. With a progress function it returns when the pin is
// pinned or has failed, and calls the function for each change until then.
func (c *Client) AddPin(ctx context.Context, target string, p admin.PinParams, progress func(admin.Pin)) (last admin.Pin, err error) {
	query := url.Values{"path": {target}, "wait": {strconv.FormatBool(progress != nil)}}
	if p.Name != "" {
		query.Set("name", p.Name)
	}
	if p.Replicas > 0 {
		query.Set("replicas", strconv.Itoa(p.Replicas))
	}
	err = c.pinLines(ctx, http.MethodPost, "/api/v1/pins", query, func(line admin.PinLine) {
		if line.Pin != nil {
			last = *line.Pin
			if progress != nil {
				progress(last)
			}
		}
	})
	if err == nil && progress != nil && last.Status != record.Pinned && last.Status != record.Failed {
		err = fmt.Errorf("the edge broke off; pin %s goes on there: see shoal pin status %s", last.ID, last.ID)
	}
	return last, err
}

// Pins calls each for every pin that a query selects, the newest first, and returns how
// many these are.
func (c *Client) Pins(ctx context.Context, q record.Query, each func(admin.Pin)) (int, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	var cids []string
	for _, id := range q.CIDs {
		cids = append(cids, id.String())
	}
	set("cid", strings.Join(cids, ","))
	set("name", q.Name)
	set("match", string(q.Match))
	var statuses []string
	for _, s := range q.Statuses {
		statuses = append(statuses, string(s))
	}
	set("status", strings.Join(statuses, ","))
	for name, t := range map[string]time.Time{"before": q.Before, "after": q.After} {
		if !t.IsZero() {
			query.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Limit > 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	count := -1
	err := c.pinLines(ctx, http.MethodGet, "/api/v1/pins", query, func(line admin.PinLine) {
		switch {
		case line.Pin != nil:
			each(*line.Pin)
		case line.Count != nil:
			count = *line.Count
		}
	})
	if err == nil && count < 0 {
		err = errors.New("the edge broke off before the end of the list")
	}
	return count, err
}

// PinStatus returns a pin, or all pins of a CID, with what each edge holds.
func (c *Client) PinStatus(ctx context.Context, idOrCID string) ([]admin.Pin, error) {
	result, err := get[admin.PinsResult](ctx, c, http.MethodGet, pinPath(idOrCID), nil)
	return result.Pins, err
}

// RemovePin ends a pin, or all pins of a CID, and returns which.
func (c *Client) RemovePin(ctx context.Context, idOrCID string) ([]admin.Pin, error) {
	result, err := get[admin.PinsResult](ctx, c, http.MethodDelete, pinPath(idOrCID), nil)
	return result.Pins, err
}

// VerifyPin has every edge that holds a pin read and check each block of it.
func (c *Client) VerifyPin(ctx context.Context, idOrCID string, progress func(record.EdgeProgress)) (found []record.EdgeCheck, err error) {
	complete := false
	err = c.pinLines(ctx, http.MethodPost, pinPath(idOrCID)+"/verify", nil, func(line admin.PinLine) {
		switch {
		case line.Progress != nil && progress != nil:
			progress(*line.Progress)
		case line.Progress == nil:
			found, complete = line.Verified, true
		}
	})
	if err == nil && !complete {
		err = errors.New("the edge broke off before the check was complete")
	}
	return found, err
}

func pinPath(idOrCID string) string { return "/api/v1/pins/" + idOrCID }

// pinLines calls each for the lines of an answer.
func (c *Client) pinLines(ctx context.Context, method, path string, query url.Values, each func(admin.PinLine)) error {
	res, err := c.send(ctx, method, path, query, nil, http.Header{})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	dec := json.NewDecoder(bufio.NewReader(res.Body))
	for dec.More() {
		var line admin.PinLine
		if err := dec.Decode(&line); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return fmt.Errorf("read the answer of %s: %w", c.base, err)
		}
		if line.Error != nil {
			return &Error{Status: http.StatusOK, Reason: line.Error.Reason, Details: line.Error.Details}
		}
		each(line)
	}
	return context.Cause(ctx)
}
