package list

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/shoal-cdn/shoal/pin/record"
)

// Bounds, in bytes.
const (
	// maxMessage is what a call may carry.
	maxMessage = 1 << 20
	// budget is what is put into a message, as far as it can be known before. A
	// message may exceed it by one record.
	budget = 640 << 10
	// maxRecord bounds one pin as it is stored and sent.
	maxRecord = 256 << 10
	maxID     = 128
	maxOwner  = 256
)

// stored is a pin as it is stored and sent. Fields that a later version adds are
// handed on by this one, because a record is kept as it came.
type stored struct {
	ID       string            `json:"id"`
	CID      string            `json:"cid"`
	Text     string            `json:"text,omitempty"`
	Name     string            `json:"name,omitempty"`
	Origins  []string          `json:"origins,omitempty"`
	Meta     map[string]string `json:"meta,omitempty"`
	Replicas int               `json:"replicas,omitempty"`
	Owner    string            `json:"owner"`
	Created  int64             `json:"created"` // milliseconds since 1970
	Replaces string            `json:"replaces,omitempty"`
	Old      string            `json:"old,omitempty"` // a CID
}

func encode(p *record.Pin) (json.RawMessage, error) {
	s := stored{
		ID: p.ID, CID: p.CID.String(), Text: p.Text, Name: p.Name, Origins: p.Origins, Meta: p.Meta,
		Replicas: p.Replicas, Owner: p.Owner, Created: p.Created.UnixMilli(), Replaces: p.Replaces,
	}
	if p.Old.Defined() {
		s.Old = p.Old.String()
	}
	raw, err := json.Marshal(s)
	if err == nil && len(raw) > maxRecord {
		err = fmt.Errorf("pin %.40q is too large: %d bytes, at most %d", p.ID, len(raw), maxRecord)
	}
	return raw, err
}

func decode(raw []byte) (*record.Pin, error) {
	if len(raw) > maxRecord {
		return nil, fmt.Errorf("record of %d bytes, at most %d are allowed", len(raw), maxRecord)
	}
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, err
	}
	c, err := cid.Decode(s.CID)
	if err != nil {
		return nil, fmt.Errorf("pin %.40q: cid %.80q: %w", s.ID, s.CID, err)
	}
	p := &record.Pin{
		Request: record.Request{CID: c, Text: s.Text, Name: s.Name, Origins: s.Origins, Meta: s.Meta, Replicas: s.Replicas},
		ID:      s.ID, Owner: s.Owner, Created: time.UnixMilli(s.Created).UTC(), Replaces: s.Replaces,
	}
	if s.Old != "" {
		if p.Old, err = cid.Decode(s.Old); err != nil {
			return nil, fmt.Errorf("pin %.40q: the old cid %.80q: %w", s.ID, s.Old, err)
		}
	}
	return p, check(p)
}

// check holds a pin to the bounds, wherever it comes from.
func check(p *record.Pin) error {
	fail := func(what string, n, most int) error {
		return fmt.Errorf("pin %.40q: %s: %d, at most %d are allowed", p.ID, what, n, most)
	}
	size := 0
	for k, v := range p.Meta {
		size += len(k) + len(v)
	}
	switch {
	case p.ID == "":
		return errors.New("a pin without an ID")
	case len(p.ID) > maxID:
		return fail("bytes of the ID", len(p.ID), maxID)
	case p.Owner == "":
		return fmt.Errorf("pin %q has no owner", p.ID)
	case len(p.Owner) > maxOwner:
		return fail("bytes of the owner", len(p.Owner), maxOwner)
	case len(p.Replaces) > maxID:
		return fail("bytes of the replaced ID", len(p.Replaces), maxID)
	case !p.CID.Defined():
		return fmt.Errorf("pin %q has no CID", p.ID)
	case utf8.RuneCountInString(p.Name) > record.MaxName:
		return fail("characters of the name", utf8.RuneCountInString(p.Name), record.MaxName)
	case len(p.Origins) > record.MaxOrigins:
		return fail("origins", len(p.Origins), record.MaxOrigins)
	case len(p.Meta) > record.MaxMeta:
		return fail("entries of meta", len(p.Meta), record.MaxMeta)
	case size > record.MaxMetaBytes:
		return fail("bytes of meta", size, record.MaxMetaBytes)
	case p.Replicas < 0 || p.Replicas > record.MaxReplicas:
		return fail("replicas", p.Replicas, record.MaxReplicas)
	}
	return nil
}

// own returns a pin that shares nothing with what the caller has.
func own(p record.Pin) *record.Pin {
	p.Origins = slices.Clone(p.Origins)
	p.Meta = maps.Clone(p.Meta)
	if p.Created.IsZero() {
		p.Created = time.Now()
	}
	p.Created = time.UnixMilli(p.Created.UnixMilli()).UTC()
	return &p
}

// The names of the calls between edges.
const (
	methodTell    = "pins.tell"
	methodCompare = "pins.compare"
	methodOutline = "pins.outline"
	methodPull    = "pins.pull"
)

// item is one thing that is told: a pin that was added, or one that was removed.
type item struct {
	dot
	Pin json.RawMessage `json:"pin,omitempty"` // none: removed
	// ID is that of a pin that was removed, to show that it was seen. Earlier versions do
	// not send it.
	ID string `json:"id,omitempty"`
}

func (i item) size() int { return len(i.Pin) + len(i.ID) + 70 }

type tellRequest struct {
	Items []item `json:"items"`
}

// numbers returns those of all items.
func (r *tellRequest) numbers() map[author]ranges {
	items := slices.Clone(r.Items)
	slices.SortFunc(items, func(a, b item) int { return cmp.Or(cmp.Compare(a.Author, b.Author), cmp.Compare(a.Seq, b.Seq)) })
	all := map[author]ranges{}
	for _, it := range items {
		r := all[it.Author]
		switch last := len(r) - 1; {
		case last >= 0 && it.Seq <= r[last][1]+1:
			r[last][1] = it.Seq
		default:
			all[it.Author] = append(r, span{it.Seq, it.Seq})
		}
	}
	return all
}

type tellAnswer struct {
	// Removed are numbers of pins that were told as added, and that the sibling counted as
	// removed before, without having seen one. Earlier versions do not answer this.
	Removed []dot `json:"removed,omitempty"`
}

type compareRequest struct {
	Sum summary `json:"sum"`
}

type compareAnswer struct {
	// Run identifies the process. What was learnt from one run of a sibling must not
	// be completed from another.
	Run string  `json:"run"`
	Sum summary `json:"sum"`
}

// outlineRequest asks for a page: what is known, and the digests of the buckets, from
// a bucket on.
type outlineRequest struct {
	Run    string `json:"run"`
	Author author `json:"author,omitempty"`
	Bucket uint64 `json:"bucket,omitempty"`
}

type outlineAnswer struct {
	Parts []part `json:"parts"`
	// Next is where the next page begins; nil at the end.
	Next *outlineRequest `json:"next,omitempty"`
}

// part is a window of the numbers of an author: which are known, and digests of
// those on the list. It is what was true at one moment.
type part struct {
	Author  author       `json:"author"`
	Window  span         `json:"window"`
	Known   ranges       `json:"known"`
	Buckets []bucketInfo `json:"buckets,omitempty"`
}

type bucketInfo struct {
	N      uint64 `json:"n"`
	Digest digest `json:"digest"`
}

// pullRequest asks which pins in these windows are on the list, and for the records
// of those that are not known.
type pullRequest struct {
	Run   string     `json:"run"`
	Wants []pullWant `json:"wants"`
}

type pullWant struct {
	Author author `json:"author"`
	Window span   `json:"window"`
	Known  ranges `json:"known,omitempty"`
}

type pullAnswer struct {
	// Windows are answers to the first wants; the last one may be shorter than asked.
	Windows []pullWindow `json:"windows"`
}

type pullWindow struct {
	Author author `json:"author"`
	Window span   `json:"window"`
	Live   ranges `json:"live,omitempty"`
	Pins   []item `json:"pins,omitempty"`
}
