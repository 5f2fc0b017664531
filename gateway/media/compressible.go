package media

import "strings"

// Compressible reports whether content of a type gets smaller when it is encoded
// (RFC 9110, section 8.4.1). contentType may have parameters. What is packed already
// is not among them. Neither are the formats that clients verify (application/vnd.ipld.*
// and application/vnd.ipfs.*): they hash the bytes that they get.
func Compressible(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.Trim(t, " \t"))
	if strings.HasPrefix(t, "application/vnd.ipld.") || strings.HasPrefix(t, "application/vnd.ipfs.") {
		return false
	}
	if strings.HasPrefix(t, "text/") || strings.HasSuffix(t, "+json") || strings.HasSuffix(t, "+xml") || strings.HasSuffix(t, "+yaml") {
		return true
	}
	return isLoose(t)
}

// isLoose lists the types that get smaller although their names do not tell.
func isLoose(t string) bool {
	switch t {
	// Text in all but name.
	case "application/ecmascript", "application/javascript", "application/json", "application/json5",
		"application/jsonl", "application/mbox", "application/n-quads", "application/n-triples",
		"application/ndjson", "application/postscript", "application/rtf", "application/sql", "application/toml",
		"application/trig", "application/vnd.apple.mpegurl", "application/vnd.dart", "application/x-javascript",
		"application/x-ndjson", "application/x-perl", "application/x-sh", "application/x-subrip",
		"application/x-tex", "application/xml", "application/xml-dtd", "application/yaml",
		"audio/mpegurl", "message/rfc822", "model/mtl", "model/obj", "model/step":
		return true
	// Binary, but not packed.
	case "application/vnd.ms-fontobject", "application/wasm", "audio/midi", "font/collection", "font/otf",
		"font/ttf", "image/bmp", "image/vnd.microsoft.icon", "image/x-icon", "model/stl":
		return true
	}
	return false
}
