package service

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/pin/record"
)

// pinResults is schema PinResults.
type pinResults struct {
	Count   int         `json:"count"`
	Results []pinStatus `json:"results"`
}

// pinStatus is schema PinStatus.
type pinStatus struct {
	RequestID string            `json:"requestid"`
	Status    record.Status     `json:"status"`
	Created   string            `json:"created"`
	Pin       pinObject         `json:"pin"`
	Delegates []string          `json:"delegates"`
	Info      map[string]string `json:"info,omitempty"`
}

// pinObject is schema Pin.
type pinObject struct {
	CID     string            `json:"cid"`
	Name    string            `json:"name,omitempty"`
	Origins []string          `json:"origins,omitempty"`
	Meta    map[string]string `json:"meta,omitempty"`
}

const (
	maxDelegates = 20
	// Clients page by the text, so it always has the three digits that make a pin's
	// time its own.
	timeFormat = "2006-01-02T15:04:05.000Z"
)

func newPinResults(page record.Page) pinResults {
	results := make([]pinStatus, len(page.Pins))
	for i, view := range page.Pins {
		results[i] = newPinStatus(view)
	}
	return pinResults{Count: page.Count, Results: results}
}

func newPinStatus(v record.View) pinStatus {
	text := v.Text
	if text == "" {
		text = v.CID.String()
	}
	return pinStatus{
		RequestID: v.ID,
		Status:    v.Status,
		Created:   v.Created.UTC().Truncate(time.Millisecond).Format(timeFormat),
		Pin:       pinObject{CID: text, Name: v.Name, Origins: v.Origins, Meta: v.Meta},
		Delegates: delegates(v.Delegates),
		Info:      v.Info,
	}
}

// delegates returns the addresses that may be sent: a client that meets one without
// a peer ID, Kubo for one, does not look at the rest.
func delegates(addrs []string) []string {
	list := make([]string, 0, min(len(addrs), maxDelegates))
	for _, a := range addrs {
		i := strings.LastIndex(a, "/p2p/")
		if i < 0 || strings.Contains(a[i+len("/p2p/"):], "/") || slices.Contains(list, a) {
			continue
		}
		if list = append(list, a); len(list) == maxDelegates {
			break
		}
	}
	return list
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	// These types have nothing that cannot be encoded.
	_ = enc.Encode(body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(buf.Len()))
	w.WriteHeader(status)
	// The client may be gone; there is nobody left to tell.
	_, _ = w.Write(buf.Bytes())
}
