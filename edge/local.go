package edge

import (
	"net"

	"github.com/ipfs/go-cid"
)

// urlOf returns where a visitor on this machine finds a CID.
func (e *Edge) urlOf(c cid.Cid) string {
	host, port, err := net.SplitHostPort(e.public.Addr().String())
	if err != nil {
		return "/ipfs/" + c.String() + "/"
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "127.0.0.1"
		for _, h := range e.config().Gateway.Hosts {
			if h.Host == "localhost" {
				host = "localhost"
			}
		}
	}
	return "http://" + net.JoinHostPort(host, port) + "/ipfs/" + c.String() + "/"
}
