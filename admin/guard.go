package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/shoal-cdn/shoal/problem"
)

// bearer lets in who has the token. Both sides are hashed first, so that the
// comparison takes the same time whatever the length.
func (a *Admin) bearer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := a.token.Load()
		if want == nil {
			next.ServeHTTP(w, r)
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="shoal admin"`)
			details := "send the configured admin.token as Authorization: Bearer <token>"
			if token != "" {
				details = "the token is not the configured admin.token"
			}
			writeError(w, problem.Unauthorized, details)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localHost refuses, while there is no token, names that are not this machine's
// own: a page from elsewhere whose name was made to resolve to 127.0.0.1 would
// otherwise be of the same origin as this door.
func (a *Admin) localHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.token.Load() != nil {
			next.ServeHTTP(w, r)
			return
		}
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !isLoopbackHost(host) {
			writeError(w, problem.Forbidden, "without admin.token this door answers only to localhost and loopback addresses")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// crossOrigin refuses a request that changes something when a browser sends it for
// a page of another origin. Other clients send neither Origin nor Sec-Fetch-Site. The
// pinning service is for pages of other origins too: it takes nothing but a token that
// the page itself must have.
func (a *Admin) crossOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isService := r.URL.Path == "/pins" || strings.HasPrefix(r.URL.Path, "/pins/")
		if err := protection.Check(r); err != nil && !isService {
			writeError(w, problem.Forbidden, "a page of another origin may not change anything here")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// answerInTime bounds how long a client may take to read a short answer.
func answerInTime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A recorder in a test has no deadlines, and needs none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
		next.ServeHTTP(w, r)
	})
}

// recoverPanics turns a panic into a 500 without its text, which goes to the log.
func (a *Admin) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.log.Error("panic in the admin API", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
			writeError(w, problem.Internal, "the log has what happened")
		}()
		next.ServeHTTP(w, r)
	})
}
