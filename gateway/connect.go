package gateway

import (
	"net"
	"net/http"
	"strings"

	"github.com/shoal-cdn/shoal/gateway/answer"
)

// refuseProxying answers 405 to who takes this edge for a proxy, and closes the
// connection: what follows CONNECT on it is not for this server, and a proxy in front
// that was told of a tunnel would pass it on without looking. With gateway.connect both
// kinds of request are answered from here, whatever host they name.
//
// Any other request gets the form that handlers expect, with nothing but a path and a
// query (origin-form, RFC 9112, section 3.2.1). A server has to take the absolute form,
// too (section 3.2.2): that is what it gets here if it names one of its own hosts.
func (g *Gateway) refuseProxying(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		if !x.sites.opts.Connect && x.sites.takenForProxy(r) {
			w.Header().Set("Connection", "close")
			g.methodNotAllowed(w, r, "this is no proxy: it answers for its own hosts only")
			return
		}
		if r.Method != http.MethodConnect && !strings.HasPrefix(r.URL.Path, "/") {
			if r.URL.Path != "" || r.URL.Opaque != "" {
				g.fail(w, x, answer.Refuse(http.StatusBadRequest, "the request target is no path"))
				return
			}
			r.URL.Path = "/"
		}
		r.URL.Scheme, r.URL.Host, r.URL.User = "", "", nil
		next.ServeHTTP(w, r)
	})
}

// takenForProxy reports whether a request is one for a proxy: CONNECT, or a URL of a
// host that is not served here.
func (t *siteTable) takenForProxy(r *http.Request) bool {
	if r.Method == http.MethodConnect {
		return true
	}
	u := r.URL
	if u.Scheme == "" && u.Host == "" {
		return false
	}
	host, _ := splitHost(u.Host)
	switch door, _ := t.door(&host); door {
	case doorUnknown:
		return true
	case doorAddress:
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		return local == nil || peerAddr(local.String()) != peerAddr(host)
	}
	return u.Scheme != "http" && u.Scheme != "https"
}

func (g *Gateway) methodNotAllowed(w http.ResponseWriter, r *http.Request, why string) {
	w.Header().Set("Allow", "GET, HEAD, OPTIONS")
	g.fail(w, exchangeOf(r), answer.Refuse(http.StatusMethodNotAllowed, "method not allowed: %s", why))
}

// options answers OPTIONS, which browsers ask before a script may read from elsewhere.
func (g *Gateway) options(w http.ResponseWriter, r *http.Request) {
	answer.Set(w.Header(), answer.CORS)
	w.Header()["Allow"] = []string{"GET", "HEAD", "OPTIONS"}
	g.empty(w, r)
}

// tunnel accepts CONNECT from clients that have this edge configured as their HTTP
// proxy. There is no tunnel: the connection stays with this server, and what
// comes through it is answered here like any other request.
func (g *Gateway) tunnel(w http.ResponseWriter, r *http.Request) { g.empty(w, r) }

// empty answers 200 without content.
func (g *Gateway) empty(w http.ResponseWriter, r *http.Request) {
	d := &delivery{Reply: answer.Reply{Answer: &answer.Answer{}, Status: http.StatusOK}, g: g, w: w, r: r, x: exchangeOf(r)}
	d.writer().announce()
}
