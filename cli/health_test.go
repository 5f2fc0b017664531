package cli_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// The edge is found by the settings that it was started with: by the file, the
// environment and --set alike, on every address as well as on one.
func TestHealth(t *testing.T) {
	log, environ, stop := edgeWithFile(t, "log: {level: info}\n")
	address := strings.TrimPrefix(environ[0], "SHOAL_EDGE=http://")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	// Only a file may say that an address is open to others: it has the token, too.
	everywhere := "admin: {listen: ':" + port + "', token: unknown-to-whoever-asks}\n"
	for _, ask := range []struct {
		file    string
		environ []string
		args    []string
	}{
		{"", nil, []string{"--set", "admin.listen=" + address}},
		{"", []string{"SHOAL_ADMIN_LISTEN=" + address}, nil},
		{"admin: {listen: '" + address + "'}\n", nil, nil},
		{everywhere, nil, nil},
		{strings.Replace(everywhere, "':", "'0.0.0.0:", 1), []string{"HTTP_PROXY=http://127.0.0.1:1"}, nil},
	} {
		writeConfig(t, ask.file)
		if code, out, stderr := shoal(t, ask.environ, append([]string{"health"}, ask.args...)...); code != 0 || out != "" || stderr != "" {
			t.Errorf("%q, %v, %v: exit code %d, %q, %q", ask.file, ask.environ, ask.args, code, out, stderr)
		}
	}
	stop()
	code, _, stderr := shoal(t, nil, "health", "--set", "admin.listen="+address)
	if code != 1 || !strings.Contains(stderr, "the edge at "+address+" does not answer") {
		t.Errorf("an edge that is gone: exit code %d, %q\n%s", code, stderr, log)
	}
}

// Docker keeps exit code 2 for itself, so it is never the verdict on an edge.
func TestHealthThatIsNone(t *testing.T) {
	t.Chdir(t.TempDir())
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not here", http.StatusNotFound)
	}))
	defer sick.Close()
	address := strings.TrimPrefix(sick.URL, "http://")
	for _, tc := range []struct{ listen, want string }{
		{address, "the edge at " + address + ` is not healthy: 404 Not Found: "not here\n"`},
		{"127.0.0.1:0", "the port is another one at each start"},
	} {
		code, _, stderr := shoal(t, []string{"SHOAL_ADMIN_LISTEN=" + tc.listen}, "health")
		if code != 1 || !strings.Contains(stderr, tc.want) {
			t.Errorf("%s: exit code %d, %q", tc.listen, code, stderr)
		}
	}
	// A file that somebody is writing at the moment: the edge went on with what it had
	// read, and so it is asked where edges usually are. This machine may have one.
	if err := os.WriteFile("config.yaml", []byte("admin: {lis"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := shoal(t, nil, "health"); code == 2 || !strings.Contains(stderr, "looked for at 127.0.0.1:8081") {
		t.Errorf("settings that cannot be read: exit code %d, %q", code, stderr)
	}
}
