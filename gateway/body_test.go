package gateway

import (
	"testing"
	"time"

	"github.com/ipfs/go-cid"
)

// A connection ends with the answer to a request that has content, and the answer says so:
// RFC 9112, sections 6.1 and 9.6.
func TestRequestsWithContentEndTheirConnection(t *testing.T) {
	// It is how long content is waited for that never comes.
	e := newEdge(t, func(o *Options, e *edge) { o.ReadHeaderTimeout = time.Second })
	c := e.shelf.raw(t, cid.Raw, []byte("hello"))
	addr, _, _ := e.serve()
	begin := "GET /ipfs/" + c.String() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for _, rest := range []string{
		"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"Content-Length: 3\r\n\r\nabc",
		"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
	} {
		dial(t, addr).send(begin+rest).receive("GET", true)
	}
	dial(t, addr).send(begin+"Content-Length: 0\r\n\r\n").receive("GET", false)
}
