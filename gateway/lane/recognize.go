package lane

import (
	"bytes"
	"net/http"
	"strings"
)

// Verdict is what is known of the bytes that a connection has brought.
type Verdict int

const (
	More  Verdict = iota // a request's head may be coming, and is not complete
	Take                 // a request was read
	Leave                // this is for net/http
)

const (
	// MaxHead is the longest head that is taken, in bytes.
	MaxHead = 8 << 10
	// maxFields is how many lines of it are taken.
	maxFields = 64
)

// Request is a request that was recognised. Its texts do not change when the next one is
// read.
type Request struct {
	Method       string // GET or HEAD
	Host, Target string
	Close        bool // the client wants the connection to end with the answer
	// Header has the fields that answers depend on, see fields.
	Header http.Header

	values [maxFields]string
	n      int
}

// fields are the fields that are put into Header, in lower case and as net/http has them.
var fields = map[string]string{
	"accept": "Accept", "accept-encoding": "Accept-Encoding", "cache-control": "Cache-Control", "user-agent": "User-Agent",
	"range": "Range", "if-range": "If-Range", "if-match": "If-Match", "if-none-match": "If-None-Match",
	"if-modified-since": "If-Modified-Since", "if-unmodified-since": "If-Unmodified-Since",
	"forwarded": "Forwarded", "x-forwarded-for": "X-Forwarded-For", "x-forwarded-host": "X-Forwarded-Host",
	"x-forwarded-proto": "X-Forwarded-Proto",
}

// unusual are the fields that make a request one for net/http: they say that there is content,
// that the connection is for something else, or that the answer is another one.
var unusual = map[string]bool{
	"content-length": true, "transfer-encoding": true, "te": true, "trailer": true, "expect": true, "upgrade": true,
	"http2-settings": true, "proxy-connection": true, "keep-alive": true, "content-type": true, "content-encoding": true,
	"service-worker": true,
	"pragma":         true, // net/http makes a Cache-Control of it
}

// Read looks at the bytes that a connection has brought. With Take it says how many of them
// are the request. It does not keep buf.
func (r *Request) Read(buf []byte) (n int, v Verdict) {
	end := bytes.Index(buf[:min(len(buf), MaxHead)], []byte("\r\n\r\n"))
	if end < 0 {
		if len(buf) >= MaxHead || !mayBegin(buf) || !mayGoOn(buf) {
			return 0, Leave
		}
		return 0, More
	}
	head := string(buf[:end+2])
	line, rest, _ := strings.Cut(head, "\r\n")
	if !r.readLine(line) || !r.readFields(rest) {
		return 0, Leave
	}
	return end + 4, Take
}

// mayBegin reports whether a request that is taken may begin so.
func mayBegin(buf []byte) bool {
	for _, method := range []string{"GET /", "HEAD /"} {
		n := min(len(buf), len(method))
		if string(buf[:n]) == method[:n] {
			return true
		}
	}
	return false
}

// mayGoOn reports whether the lines that have come may be those of a request that is taken.
// One that ends with a bare LF may be the last for net/http (RFC 9112, section 2.2), so
// nobody should wait for more.
func mayGoOn(buf []byte) bool {
	for lines := 0; ; lines++ {
		i := bytes.IndexByte(buf, '\n')
		if i < 0 {
			return true
		}
		if i == 0 || buf[i-1] != '\r' || lines > maxFields {
			return false
		}
		buf = buf[i+1:]
	}
}

// readLine reads the request line.
func (r *Request) readLine(line string) bool {
	rest, ok := strings.CutSuffix(line, " HTTP/1.1")
	if !ok {
		return false
	}
	switch {
	case strings.HasPrefix(rest, "GET /"):
		r.Method, r.Target = http.MethodGet, rest[len("GET "):]
	case strings.HasPrefix(rest, "HEAD /"):
		r.Method, r.Target = http.MethodHead, rest[len("HEAD "):]
	default:
		return false
	}
	for i := range len(r.Target) {
		// A query makes an answer that is not kept, and a fragment has no place here.
		c := r.Target[i]
		if c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return false
		}
		if c == '%' && (i+2 >= len(r.Target) || !isHex(r.Target[i+1]) || !isHex(r.Target[i+2])) {
			return false // no URL (RFC 3986, section 2.1)
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// readFields reads the field lines, each with its line end.
func (r *Request) readFields(rest string) bool {
	r.Host, r.Close, r.n = "", false, 0
	if r.Header == nil {
		r.Header = make(http.Header, 8)
	}
	clear(r.Header)
	hosts := 0
	for lines := 0; rest != ""; lines++ {
		var line string
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, ok := cutField(line)
		if !ok || lines >= maxFields {
			return false
		}
		var lower [24]byte
		if len(name) > len(lower) {
			continue // none of those that matter
		}
		key := lower[:len(name)]
		for i := range len(name) {
			key[i] = toLower(name[i])
		}
		switch string(key) {
		case "host":
			if hosts++; hosts > 1 || !isHost(value) {
				return false
			}
			r.Host = value
		case "connection":
			switch {
			case strings.EqualFold(value, "close"):
				r.Close = true
			case !strings.EqualFold(value, "keep-alive"):
				return false
			}
		default:
			if unusual[string(key)] {
				return false
			}
			if canonical, matters := fields[string(key)]; matters {
				r.add(canonical, value)
			}
		}
	}
	return hosts == 1
}

// add adds a value, without memory of its own for fields that come once.
func (r *Request) add(name, value string) {
	if before := r.Header[name]; len(before) > 0 {
		r.Header[name] = append(before, value)
		return
	}
	r.values[r.n] = value
	r.Header[name] = r.values[r.n : r.n+1 : r.n+1]
	r.n++
}

// cutField splits a field line (RFC 9112, section 5): a token, a colon right behind it, and
// a value of visible characters, spaces and tabs.
func cutField(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(line, ":")
	if !ok || name == "" {
		return "", "", false
	}
	for i := range len(name) {
		if !isToken(name[i]) {
			return "", "", false
		}
	}
	value = strings.Trim(value, " \t")
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return "", "", false
		}
	}
	return name, value, true
}

// isToken reports whether a byte may stand in a field name (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isHost reports whether a Host is one that nobody can take for something else: a name or an
// IPv4 address, with a port or without.
func isHost(s string) bool {
	name, port, ported := strings.Cut(s, ":")
	if name == "" || ported && (port == "" || len(port) > 5) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	return true
}

func toLower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
