package page

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"strconv"
	"sync"

	"github.com/cespare/xxhash/v2"
)

//go:embed style.css
var style string

//go:embed sort.js
var script string

// policy and version are worked out when they are first asked for.
var (
	policy  = sync.OnceValue(makePolicy)
	version = sync.OnceValue(makeVersion)
)

// Policy returns the Content-Security-Policy (W3C CSP Level 3) that the pages are sent
// with: nothing is loaded, and nothing runs but the style and the script in them.
func Policy() string { return policy() }

// Version returns what changes when a page of the same content looks different, in
// letters and digits: it belongs into the pages' entity tags. It is a hash of pages that
// show everything there is to show.
func Version() string { return version() }

func makePolicy() string {
	return "default-src 'none'; img-src data:; style-src " + source(style) + "; script-src " + source(script) + "; base-uri 'none'; form-action 'none'"
}

// source allows an inline element by its hash.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func makeVersion() string {
	hash := xxhash.New()
	for _, html := range samples() {
		hash.Write(html)
	}
	return strconv.FormatUint(hash.Sum64(), 36)
}

// appendHead writes a page up to its heading. The icon keeps browsers from asking for one.
func appendHead(b []byte, title string) []byte {
	b = append(b, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>`...)
	b = appendText(b, title)
	b = append(b, `</title>
<link rel="icon" href="data:,">
<style>`...)
	b = append(b, style...)
	return append(b, "</style>\n</head>\n<body>\n<main>\n<header>\n"...)
}

const foot = "</main>\n</body>\n</html>\n"

// appendFact writes what a fact is called; what it is follows, and endFact.
func appendFact(b []byte, name string) []byte {
	return append(append(append(b, "<div><dt>"...), name...), "</dt><dd>"...)
}

const endFact = "</dd></div>\n"
