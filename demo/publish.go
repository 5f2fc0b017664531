package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// publish adds the content to the edge whose admin API is at addr, pinned, and
// returns the root's CID. sent is called with the number of bytes sent so far.
func publish(ctx context.Context, addr string, c *content, sent func(int64)) (string, error) {
	// However this ends, the goroutine that writes the archive must end too: its
	// pipe fails as soon as nobody reads it any longer.
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(c.writeTar(ctx, w, sent))
	}()
	defer func() {
		r.Close()
		<-done
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/v1/add?pin=true", r)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-tar")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var refusal importLine
		if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&refusal); err == nil && refusal.Error != nil {
			return "", errors.New(refusal.Error.Details)
		}
		return "", errors.New(res.Status)
	}
	return lastCID(res.Body)
}

// An importLine is one line of the answer to an import: of its progress, of which
// nothing is needed here, or at the end the CID or the error.
type importLine struct {
	CID   string `json:"cid"`
	Error *struct {
		Details string `json:"details"`
	} `json:"error"`
}

func lastCID(body io.Reader) (string, error) {
	lines := json.NewDecoder(body)
	for {
		var line importLine
		err := lines.Decode(&line)
		switch {
		case err == io.EOF:
			return "", errors.New("the answer ended without a CID")
		case err != nil:
			return "", fmt.Errorf("the answer: %w", err)
		case line.Error != nil:
			return "", errors.New(line.Error.Details)
		case line.CID != "":
			return line.CID, nil
		}
	}
}
