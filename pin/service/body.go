package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/shoal-cdn/shoal/block"
	"github.com/shoal-cdn/shoal/pin/record"
	"github.com/shoal-cdn/shoal/printable"
	"github.com/shoal-cdn/shoal/problem"
)

// MetaReplicas is the key in a pin's meta that says on how many edges it is to be,
// where that is not the fleet's default. The document has such policies there.
const MetaReplicas = "shoal_replicas"

// The longest texts that are looked at, in bytes.
const (
	maxCID    = 1024
	maxOrigin = 1024
)

// readBody returns the body of a request, which is JSON by its type.
func (s *Service) readBody(c *call) ([]byte, error) {
	if err := checkType(c.r.Header); err != nil {
		return nil, err
	}
	if c.r.ContentLength > s.opts.MaxBody {
		return nil, bodyRefusal(&http.MaxBytesError{Limit: s.opts.MaxBody}, s.opts.MaxBody)
	}
	deadline := http.NewResponseController(c.w)
	_ = deadline.SetReadDeadline(time.Now().Add(s.opts.BodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, s.opts.MaxBody))
	if err != nil {
		return nil, bodyRefusal(err, s.opts.MaxBody)
	}
	// From here the server reads to see whether the client is there, and a deadline
	// that passes would look as if it were not.
	_ = deadline.SetReadDeadline(time.Time{})
	return body, nil
}

// checkType refuses all but plain JSON. A client that says nothing is believed to
// send what the document asks for.
func checkType(h http.Header) error {
	refuse := func(what string) error {
		return &refusal{reason: problem.Unsupported, details: what + ": expected Content-Type: application/json"}
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse("Content-Encoding " + clip(coding))
	}
	value := h.Get("Content-Type")
	if value == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(value)
	if err != nil || kind != "application/json" {
		return refuse("Content-Type " + clip(value))
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return refuse("charset " + clip(charset))
	}
	return nil
}

// decodePin decodes and checks schema Pin.
func decodePin(body []byte) (record.Request, error) {
	var r record.Request
	fields, err := decodeObject("the body", body)
	if err != nil {
		return r, err
	}
	text, given, err := stringField(fields, "cid")
	switch {
	case err != nil:
		return r, err
	case !given:
		return r, badRequest("cid: missing, expected the CID to pin")
	}
	if r.CID, err = decodeCID("cid", text); err != nil {
		return r, err
	}
	if text != r.CID.String() {
		r.Text = text
	}
	if r.Name, _, err = stringField(fields, "name"); err != nil {
		return r, err
	}
	if err := checkName(r.Name); err != nil {
		return r, err
	}
	if raw, given := fields["origins"]; given {
		if r.Origins, err = decodeOrigins(raw); err != nil {
			return r, err
		}
	}
	if raw, given := fields["meta"]; given {
		if r.Meta, err = decodeMeta(raw); err != nil {
			return r, err
		}
	}
	r.Replicas, err = replicas(r.Meta)
	return r, err
}

// decodeObject decodes a JSON object. encoding/json would take "CID" for cid, and
// text that is not UTF-8, so the names are looked up here.
func decodeObject(what string, raw []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, badRequest("%s: not UTF-8", what)
	}
	if !json.Valid(raw) {
		return nil, badRequest("%s: not JSON: %s", what, syntaxError(raw))
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil || fields == nil {
		return nil, badRequest("%s: expected a JSON object, got %s", what, kindOf(raw))
	}
	return fields, nil
}

// syntaxError says what is wrong with text that is not JSON, and where.
func syntaxError(raw []byte) string {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(raw, new(json.RawMessage)); errors.As(err, &syntax) {
		return syntax.Error() + " at byte " + strconv.FormatInt(syntax.Offset, 10)
	}
	return "unexpected text"
}

// kindOf names the kind of a JSON value.
func kindOf(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '"':
		return "a string"
	case '[':
		return "an array"
	case '{':
		return "an object"
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	}
	return "a number"
}

func stringField(fields map[string]json.RawMessage, name string) (value string, given bool, err error) {
	raw, given := fields[name]
	if given {
		value, err = decodeString(name, raw)
	}
	return value, given, err
}

func decodeString(what string, raw []byte) (string, error) {
	if kind := kindOf(raw); kind != "a string" {
		return "", badRequest("%s: expected a string, got %s", what, kind)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", badRequest("%s: not a string", what)
	}
	return s, nil
}

// libp2pKey is the codec of the CIDs that are IPNS names.
const libp2pKey = 0x72

func decodeCID(what, text string) (cid.Cid, error) {
	if len(text) > maxCID {
		return cid.Undef, badRequest("%s: a CID of %d bytes, expected at most %d", what, len(text), maxCID)
	}
	c, err := cid.Decode(text)
	if err != nil {
		hint := ""
		if strings.HasPrefix(text, "/") {
			hint = ", not a path"
		}
		return cid.Undef, badRequest("%s: %q is not a CID: expected one such as bafy... or Qm...%s", what, clip(text), hint)
	}
	if c.Type() == libp2pKey {
		return cid.Undef, badRequest("%s: %s is an IPNS name, not content: pin the CID that it leads to", what, clip(text))
	}
	if err := block.CheckCID(c); err != nil {
		return cid.Undef, badRequest("%s: %s cannot be verified: its hash function is not a secure one, or too much is inside it", what, clip(text))
	}
	return c, nil
}

func checkName(name string) error {
	if n := utf8.RuneCountInString(name); n > record.MaxName {
		return badRequest("name: %d characters, expected at most %d", n, record.MaxName)
	}
	if err := printable.Check(name); err != nil {
		return badRequest("name: %v", err)
	}
	return nil
}

func decodeOrigins(raw []byte) ([]string, error) {
	var values []json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return nil, badRequest("origins: expected an array of multiaddrs, got %s", kindOf(raw))
	}
	if len(values) > record.MaxOrigins {
		return nil, badRequest("origins: %d addresses, expected at most %d", len(values), record.MaxOrigins)
	}
	origins := make([]string, 0, len(values))
	for i, value := range values {
		what := "origins[" + strconv.Itoa(i) + "]"
		origin, err := decodeString(what, value)
		if err != nil {
			return nil, err
		}
		if err := checkOrigin(what, origin); err != nil {
			return nil, err
		}
		if slices.Contains(origins, origin) {
			return nil, badRequest("%s: %s is there twice", what, clip(origin))
		}
		origins = append(origins, origin)
	}
	return origins, nil
}

func checkOrigin(what, origin string) error {
	if len(origin) > maxOrigin {
		return badRequest("%s: an address of %d bytes, expected at most %d", what, len(origin), maxOrigin)
	}
	addr, err := multiaddr.NewMultiaddr(origin)
	if err != nil {
		return badRequest("%s: %q is not a multiaddr such as /ip4/203.0.113.7/tcp/4001/p2p/12D3...", what, clip(origin))
	}
	if _, err := peer.AddrInfoFromP2pAddr(addr); err != nil {
		return badRequest("%s: %q does not end in /p2p/ and a peer ID", what, clip(origin))
	}
	return nil
}

// decodeMeta decodes schema PinMeta, of a body or of a query.
func decodeMeta(raw []byte) (map[string]string, error) {
	fields, err := decodeObject("meta", raw)
	if err != nil {
		return nil, err
	}
	if len(fields) > record.MaxMeta {
		return nil, badRequest("meta: %d entries, expected at most %d", len(fields), record.MaxMeta)
	}
	meta, size := make(map[string]string, len(fields)), 0
	for name, value := range fields {
		text, err := decodeString("meta."+clip(name), value)
		if err != nil {
			return nil, err
		}
		meta[name] = text
		size += len(name) + len(text)
	}
	if size > record.MaxMetaBytes {
		return nil, badRequest("meta: %d bytes, expected at most %d", size, record.MaxMetaBytes)
	}
	return meta, nil
}

// replicas returns what the meta of a pin says of them; 0 for nothing.
func replicas(meta map[string]string) (int, error) {
	text, given := meta[MetaReplicas]
	if !given {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > record.MaxReplicas {
		return 0, badRequest("meta.%s: %q, expected a number from 1 to %d", MetaReplicas, clip(text), record.MaxReplicas)
	}
	return n, nil
}
