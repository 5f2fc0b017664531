package media

import (
	"bytes"
	"mime"
	"strings"
	"testing"
	"time"
)

func TestSniff(t *testing.T) {
	const plainText = "text/plain; charset=utf-8"
	rows := "{" + strings.Repeat(`"key": [1, 2, 3], `, 1000)
	for about, c := range map[string]struct{ head, want string }{
		"nothing":                 {"", "text/plain"},
		"ASCII":                   {"All rights reserved.\n", plainText},
		"UTF-8":                   {"Straße, 東京\n", plainText},
		"UTF-8, cut in a rune":    {strings.Repeat("a", HeadBytes-1) + "ß", plainText},
		"Latin-1":                 {"Stra\xdfe\n", "text/plain; charset=iso-8859-1"},
		"UTF-16":                  {"\xff\xfea\x00b\x00", "text/plain; charset=utf-16le"},
		"a page":                  {"<!DOCTYPE html>\n<title>x</title>", "text/html"},
		"a page with a charset":   {`<html><head><meta charset="shift_jis">`, "text/html"},
		"a page with a BOM":       {"\xef\xbb\xbf<html>", "text/html"},
		"a page after blanks":     {"\n\n  <html lang=de>", "text/html"},
		"a fragment":              {"<div class=a>text</div>", "text/html"},
		"a comment":               {"<!-- made by hand -->\n<p>", "text/html"},
		"SVG":                     {`<svg xmlns="http://www.w3.org/2000/svg" width="1"></svg>`, "image/svg+xml"},
		"SVG after a declaration": {`<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>`, "image/svg+xml"},
		"XML":                     {`<?xml version="1.0"?><a/>`, "text/xml; charset=utf-8"},
		"XML, UTF-8":              {`<?xml version="1.0" encoding="UTF-8"?><a/>`, "text/xml; charset=utf-8"},
		"XML, Latin-1":            {`<?xml version="1.0" encoding="ISO-8859-1"?><a/>`, "text/xml"},
		"XML, hostile":            {"<?xml version=\"1.0\" encoding=\"x\r\nSet-Cookie: a\"?><a/>", "text/xml"},
		"a feed":                  {`<?xml version="1.0"?><rss version="2.0"></rss>`, "application/rss+xml"},
		"JSON":                    {`{"applinks": {"details": []}}`, "application/json"},
		"JSON, a longer file":     {rows, "application/json"},
		"JSON that does not end":  {`{"a": [1, 2`, plainText},
		"lines of JSON":           {"{\"a\":1}\n{\"a\":2}\n", "application/x-ndjson"},
		"commas":                  {"Dear all, hello\nYours, me\n", plainText},
		"tabs":                    {"a\tb\n1\t2\n", plainText},
		"a script":                {"#!/bin/sh\necho 1\n", plainText},
		"PHP":                     {"<?php echo 1;", plainText},
		"a calendar":              {"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "text/calendar; charset=utf-8"},
		"a table in Latin-1":      {"BEGIN:VCARD\nFN:Stra\xdfe\n", "text/vcard"},
		"PNG":                     {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"},
		"an icon":                 {"\x00\x00\x01\x00\x01\x00", "image/vnd.microsoft.icon"},
		"WebAssembly":             {"\x00asm\x01\x00\x00\x00", "application/wasm"},
		"a font":                  {"wOF2\x00\x01\x00\x00", "font/woff2"},
		"gzip":                    {"\x1f\x8b\x08\x00", "application/gzip"},
		"RTF":                     {`{\rtf1 text}`, "application/rtf"},
		"bytes":                   {"\x00\x01\x02\x03\x04\x05", "application/octet-stream"},
	} {
		if got, coding := Type("README", []byte(c.head)); got != c.want || coding != "" {
			t.Errorf("%s: %q in %q, want %q", about, got, coding, c.want)
		}
	}
}

// A JSON document is known by its head only if the head has the length at which it
// counts as one that was cut off.
func TestHeadBytesIsWhatCountsAsCutOff(t *testing.T) {
	text := []byte("[" + strings.Repeat("1, ", HeadBytes))
	for size, want := range map[int]string{
		HeadBytes - 1: plain,
		HeadBytes:     "application/json",
		len(text):     "application/json",
	} {
		if got, _ := Type("", text[:size]); got != want {
			t.Errorf("%d bytes: %q, want %q", size, got, want)
		}
	}
}

// Strangers choose the head: no shape of it may cost much more than its bytes.
func TestSniffIsCheap(t *testing.T) {
	const most = 50 * time.Millisecond // a hundred times what it takes
	for _, shape := range []string{
		"a", "{", "[", `{"a":`, "\"", ",", "\"\n", "\n", " ", "<", "<!--", "<svg ", "<?xml ", "<?xml encoding=", "<meta ", "#!", "\xff\xfb", "\xff",
		"\x00", "PK\x03\x04", "G", "0", "1\n", "{}\n", "a,b\n", "a:b\n", "\\", "%PDF", "=", "<html ", "ID3",
	} {
		head := bytes.Repeat([]byte(shape), HeadBytes/len(shape)+1)
		for _, start := range []string{"", "<html>", "<svg ", "<?xml ", "<!--", "PK\x03\x04", "{\"a\":[", "#", "\x1aE\xdf\xa3", "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"} {
			text := append([]byte(start), head...)
			least := time.Hour
			for try := 0; try < 20 && least > most; try++ { // the others on the machine are not to be counted
				began := time.Now()
				Type("", text)
				least = min(least, time.Since(began))
			}
			if least > most {
				t.Errorf("%q and many of %q take %v", start, shape, least)
			}
		}
	}
}

func FuzzType(f *testing.F) {
	f.Add("index.html", []byte("<html>"))
	f.Add("", []byte("<?xml version='1.0' encoding='a\r\nb: c'?>"))
	f.Add("", []byte(`<html><meta charset="x; y=z">`))
	f.Add("a.ts", stream(3, 0))
	f.Add(".svgz", []byte("\x1f\x8b"))
	f.Add("A.SVGZ", []byte{})
	f.Fuzz(func(t *testing.T, name string, head []byte) {
		got, coding := Type(name, head)
		if _, _, err := mime.ParseMediaType(got); err != nil || !strings.Contains(got, "/") || len(got) > 100 {
			t.Errorf("%q does not parse: %v", got, err)
		}
		if coding != "" && coding != "gzip" {
			t.Errorf("coding %q", coding)
		}
		if strings.HasPrefix(got, "text/html") && got != "text/html" {
			t.Errorf("HTML has the parameters of %q", got)
		}
		Compressible(got)
		if other, _ := Type(name, nil); !NeedsHead(name) && other != got {
			t.Errorf("%q is %q or %q by its head, which was not needed", name, got, other)
		}
	})
}

func BenchmarkSniff(b *testing.B) {
	head := bytes.Repeat([]byte("Some words of a text.\n"), HeadBytes)[:HeadBytes]
	b.SetBytes(HeadBytes)
	for b.Loop() {
		Type("README", head)
	}
}
