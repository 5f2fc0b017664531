package gateway

import (
	"fmt"
	"strings"
)

// smuggled is a request that is content, or is not: the answer tells.
const smuggled = "GET /s.txt HTTP/1.1\r\nHost: www.example.org\r\nRange: bytes=1-2\r\n\r\n"

// oddities are requests for which the hot lane is not made, and some that nobody answers.
func (r *rivals) oddities() []string {
	get, host := "GET /s.txt HTTP/1.1\r\n", "Host: www.example.org\r\n"
	post := "POST /s.txt HTTP/1.1\r\n" + host
	odd := []string{
		"\r\n" + get + host + "\r\n", "\n", "\r\n\r\n", "\x00", "x", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "GET /s.txt\r\n",
		"GET /s.txt HTTP/1.1\n" + host + "\r\n", "GET /s.txt HTTP/1.1\nHost: www.example.org\n\n", get + "Host: www.example.org\n\n", get + host + "\n",
		get + host + "X: a\rb\r\n\r\n", get + host + "X: a\r\r\n\r\n", get + host + "X: \x00\r\n\r\n", get + host + "X\x00: y\r\n\r\n", "GET /\x00 HTTP/1.1\r\n" + host + "\r\n",
		get + host + "X: y\r\n z\r\n\r\n", get + host + " X: y\r\n\r\n", get + " " + host + "\r\n", get + host + "X : y\r\n\r\n", get + host + "X\r\n\r\n", get + host + ": y\r\n\r\n", get + host + "X y: z\r\n\r\n",
		get + host + host + "\r\n", get + "\r\n", get + "Host:\r\n\r\n", get + "Host: a b\r\n\r\n", get + "Host: www.example.org:99999\r\n\r\n", get + "Host: [::1]\r\n\r\n", get + "Host: a/b\r\n\r\n", get + "Host: www.example.org:\r\n\r\n",
		"get /s.txt HTTP/1.1\r\n" + host + "\r\n", "GETS /s.txt HTTP/1.1\r\n" + host + "\r\n", "G<T /s.txt HTTP/1.1\r\n" + host + "\r\n", "GET  /s.txt HTTP/1.1\r\n" + host + "\r\n", "GET /s.txt  HTTP/1.1\r\n" + host + "\r\n", "GET /s.txt HTTP/1.1 \r\n" + host + "\r\n",
		"GET /s.txt http/1.1\r\n" + host + "\r\n", "GET /s.txt HTTP/1.2\r\n" + host + "\r\n", "GET /s.txt HTTP/2.0\r\n" + host + "\r\n", "GET /s.txt HTTP/3\r\n" + host + "\r\n", "GET /s.txt HTTP/1.01\r\n" + host + "\r\n",
		"GET /s.txt HTTP/1.0\r\n" + host + "\r\n", "GET /s.txt HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n", "GET /s.txt HTTP/1.0\r\n\r\n", "HEAD /s.txt HTTP/1.0\r\n" + host + "Connection: keep-alive\r\n\r\n",
		"GET /%zz HTTP/1.1\r\n" + host + "\r\n", "GET /%2 HTTP/1.1\r\n" + host + "\r\n", "GET /s.txt#x HTTP/1.1\r\n" + host + "\r\n", "GET //www.example.org/s.txt HTTP/1.1\r\n" + host + "\r\n", "GET s.txt HTTP/1.1\r\n" + host + "\r\n",
		"GET http://www.example.org/s.txt HTTP/1.1\r\n" + host + "\r\n", "GET http://www.example.org/s.txt HTTP/1.1\r\nHost: other.example\r\n\r\n", "GET http://other.example/s.txt HTTP/1.1\r\n" + host + "\r\n", "GET http: HTTP/1.1\r\n" + host + "\r\n",
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", "OPTIONS /s.txt HTTP/1.1\r\n" + host + "\r\n", "CONNECT www.example.org:80 HTTP/1.1\r\n" + host + "\r\n", "BREW / HTTP/1.1\r\n" + host + "\r\n", "GET * HTTP/1.1\r\n" + host + "\r\n",
		"GET /s.txt? HTTP/1.1\r\n" + host + "\r\n", "GET /s.txt?format=raw HTTP/1.1\r\n" + host + "\r\n", "GET /m.txt?x HTTP/1.1\r\n" + host + "\r\n", "GET /?format=car HTTP/1.1\r\n" + host + "\r\n",
		get + host + "Pragma: no-cache\r\n\r\n", get + host + "Cache-Control: only-if-cached\r\n\r\n", get + host + "Service-Worker: script\r\n\r\n", get + host + "X: \xff\r\n\r\n", get + host + "Accept: application/vnd.ipld.raw\r\n\r\n",
		get + host + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", get + host + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", get + host + "Upgrade: x\r\n\r\n",
		get + host + "Connection:\r\n\r\n", get + host + "Connection: keep-alive, close\r\n\r\n", get + host + "Connection: x\r\n\r\n", get + host + "Connection: close\r\nConnection: keep-alive\r\n\r\n", get + host + "Keep-Alive: timeout=5\r\n\r\n", get + host + "Proxy-Connection: close\r\n\r\n",
		get + host + "Expect: 100-continue\r\n\r\n", get + host + "Expect: x\r\n\r\n", get + host + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", post + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI / HTTP/1.1\r\n" + host + "\r\n",
		get + host + "X: " + strings.Repeat("x", 5000) + "\r\n\r\n", get + host + "X: " + strings.Repeat("x", 9000) + "\r\n\r\n", get + host + strings.Repeat("X: y\r\n", 100) + "\r\n", "GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\n" + host + "\r\n",
		get + host + "X: " + strings.Repeat("x", 60_000) + "\r\n\r\n", get + host + "If-Match: \"x\"\r\n\r\n", get + host + "Range: bytes=99-\r\n\r\n",
	}
	content := fmt.Sprintf("%d\r\n\r\n%s", len(smuggled), smuggled)
	chunks := fmt.Sprintf("\r\n%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled)
	for _, begin := range []string{get + host, post} {
		for _, l := range []string{content, "0\r\n\r\n", "+" + content, "0" + content, " \t" + content, "-1\r\n\r\n", "\r\n\r\n", "0x5\r\n\r\nhello", "5, 5\r\n\r\nhello", "5\r\nContent-Length: 5\r\n\r\nhello", "5\r\nContent-Length: 6\r\n\r\nhello", "5,6\r\n\r\nhello", "99999999999999999999\r\n\r\n", "1 1\r\n\r\n", "5\r\n\r\nhello", "5;\r\n\r\nhello"} {
			odd = append(odd, begin+"Content-Length: "+l)
		}
		odd = append(odd, begin+"Content-Length : "+content, begin+"Content-Length\t: "+content, begin+"Content_Length: "+content, begin+"X: y\r\n Content-Length: "+content, begin+"Content-Length:\r\n "+content, begin+"content-length:"+content)
		for _, te := range []string{"chunked", "Chunked", "chunked ", "\tchunked", "xchunked", "chunked, chunked", "identity", "gzip, chunked", "chunked, identity", "\x0bchunked", "\"chunked\"", "chunked;x", "", ", chunked", "chunked\r\nTransfer-Encoding: chunked", "chunked\r\nTransfer-Encoding: x", "chunked\r\nContent-Length: 5", "x\r\nContent-Length: 0"} {
			odd = append(odd, begin+"Transfer-Encoding: "+te+"\r\n"+chunks)
		}
		te := begin + "Transfer-Encoding: chunked\r\n"
		odd = append(odd, begin+"Transfer-Encoding : chunked\r\n"+chunks, begin+"Transfer-Encoding:\r\n chunked\r\n"+chunks, begin+"X: y\r\n Transfer-Encoding: chunked\r\n"+chunks, begin+"Transfer_Encoding: chunked\r\n"+chunks, begin+"Transfer-Encoding\x00: chunked\r\n"+chunks, begin+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"+chunks,
			te+"\r\n0\r\n\r\n", te+"\r\n0\r\nX: y\r\n\r\n", te+"\r\n5;x=y\r\nhello\r\n0\r\n\r\n", te+"\r\n5 \r\nhello\r\n0\r\n\r\n", te+"\r\n0x5\r\nhello\r\n0\r\n\r\n", te+"\r\n-1\r\n", te+"\r\nfffffffffffffffff\r\nx", te+"\r\n5\nhello\n0\n\n", te+"\r\n5\r\nhello!\r\n0\r\n\r\n", te+"\r\n00000000000000000\r\n\r\n", te+"Trailer: X\r\n\r\n0\r\nX: y\r\n\r\n", te+"\r\n0\r\n"+smuggled, te+"\r\n2;\r\nab\r\n0;\n\r\n\r\n")
	}
	return odd
}
