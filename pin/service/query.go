package service

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// The bounds of a query.
const (
	maxCIDs      = 10
	maxLimit     = 1000
	defaultLimit = 10
)

// decodeQuery decodes and checks the parameters of GET /pins.
func decodeQuery(raw string) (record.Query, error) {
	var q record.Query
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, badRequest("the query is not URL-encoded")
	}
	for _, name := range []string{"name", "match", "before", "after", "limit", "meta"} {
		if n := len(values[name]); n > 1 {
			return q, badRequest("%s: given %d times, expected once", name, n)
		}
	}
	if q.CIDs, err = queryCIDs(values); err != nil {
		return q, err
	}
	if q.Statuses, err = queryStatuses(values); err != nil {
		return q, err
	}
	// An empty name is no filter: an empty field of a form.
	q.Name = values.Get("name")
	if !utf8.ValidString(q.Name) {
		return q, badRequest("name: not UTF-8")
	}
	if err := checkName(q.Name); err != nil {
		return q, err
	}
	if q.Match, err = queryMatch(values); err != nil {
		return q, err
	}
	if q.Before, err = queryTime(values, "before"); err != nil {
		return q, err
	}
	if q.After, err = queryTime(values, "after"); err != nil {
		return q, err
	}
	if q.Limit, err = queryLimit(values); err != nil {
		return q, err
	}
	if values.Has("meta") {
		q.Meta, err = decodeMeta([]byte(values.Get("meta")))
	}
	return q, err
}

// queryList returns the elements of a list, which may be spread over parameters.
func queryList(values url.Values, name string) []string {
	if !values.Has(name) {
		return nil
	}
	return strings.Split(strings.Join(values[name], ","), ",")
}

func queryCIDs(values url.Values) ([]cid.Cid, error) {
	texts := queryList(values, "cid")
	if len(texts) > maxCIDs {
		return nil, badRequest("cid: %d CIDs, expected at most %d", len(texts), maxCIDs)
	}
	var cids []cid.Cid
	for i, text := range texts {
		c, err := decodeCID("cid["+strconv.Itoa(i)+"]", text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(texts[:i], text) {
			return nil, badRequest("cid: %s is there twice", clip(text))
		}
		cids = append(cids, c)
	}
	return cids, nil
}

// queryStatuses returns the states to look for, which are just one if none is given.
func queryStatuses(values url.Values) ([]record.Status, error) {
	if !values.Has("status") {
		return []record.Status{record.Pinned}, nil
	}
	var statuses []record.Status
	for _, text := range queryList(values, "status") {
		status := record.Status(text)
		switch status {
		case record.Queued, record.Pinning, record.Pinned, record.Failed:
		default:
			return nil, badRequest("status: %q, expected queued, pinning, pinned or failed", clip(text))
		}
		if slices.Contains(statuses, status) {
			return nil, badRequest("status: %s is there twice", text)
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}

func queryMatch(values url.Values) (record.Match, error) {
	if !values.Has("match") {
		return record.Exact, nil
	}
	match := record.Match(values.Get("match"))
	switch match {
	case record.Exact, record.IExact, record.Partial, record.IPartial:
		return match, nil
	}
	return "", badRequest("match: %q, expected exact, iexact, partial or ipartial", clip(string(match)))
}

// queryTime returns the time in a parameter, as RFC 3339, section 5.6, has it, in
// which the letters may be small.
func queryTime(values url.Values, name string) (time.Time, error) {
	var t time.Time
	if !values.Has(name) {
		return t, nil
	}
	// A + that was not escaped comes as a space, and there is no space otherwise.
	text := strings.ToUpper(strings.Replace(values.Get(name), " ", "+", 1))
	// Package time takes T1:02 and a comma too.
	loose := len(text) < len("2006-01-02T15:04:05Z") || text[len("2006-01-02T15")] != ':' || strings.Contains(text, ",")
	if err := t.UnmarshalText([]byte(text)); err != nil || loose {
		return t, badRequest("%s: %q, expected a time such as 2020-07-27T17:32:28.276Z", name, clip(values.Get(name)))
	}
	return t, nil
}

func queryLimit(values url.Values) (int, error) {
	if !values.Has("limit") {
		return defaultLimit, nil
	}
	limit, err := strconv.Atoi(values.Get("limit"))
	if err != nil || limit < 1 || limit > maxLimit {
		return 0, badRequest("limit: %q, expected a number from 1 to %d", clip(values.Get("limit")), maxLimit)
	}
	return limit, nil
}
