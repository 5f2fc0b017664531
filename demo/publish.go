package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
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
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300))
		return "", fmt.Errorf("%s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	return lastCID(res.Body)
}

// lastCID reads the progress of an import, one JSON object a line, of which the
// last one has the CID or the error.
func lastCID(body io.Reader) (string, error) {
	var line struct {
		CID   string `json:"cid"`
		Error any    `json:"error"`
	}
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return "", fmt.Errorf("answer %.100q: %w", lines.Text(), err)
		}
		if line.Error != nil {
			return "", fmt.Errorf("%v", line.Error)
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if line.CID == "" {
		return "", errors.New("the answer ended without a CID")
	}
	return line.CID, nil
}
