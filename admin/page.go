package admin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

//go:embed dashboard.html
var dashboard string

// page is the dashboard: one file without any secret in it. Its script asks
// /api/v1/stats for the figures, with the token that the operator types in.
type page struct{ policy string }

func newPage() page {
	return page{policy: fmt.Sprintf("default-src 'none'; connect-src 'self'; img-src data:; script-src '%s'; style-src '%s'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		inlineHash("script"), inlineHash("style"))}
}

// inlineHash returns the source that lets a browser run the page's own inline
// element and nothing else (Content Security Policy Level 3).
func inlineHash(element string) string {
	_, after, _ := strings.Cut(dashboard, "<"+element+">")
	text, _, _ := strings.Cut(after, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	fmt.Fprint(w, dashboard)
}
