package cli_test

import (
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/cli"
)

// edgeWithFile runs an edge in an empty folder with a config.yaml, and returns its
// log, the environment of those who talk to it, and what stops it.
func edgeWithFile(t *testing.T, text string) (log *lineWriter, environ []string, stop func()) {
	t.Helper()
	t.Chdir(t.TempDir())
	writeConfig(t, text)
	ctx, cancel := context.WithCancel(t.Context())
	log = &lineWriter{serving: make(chan string, 1)}
	done := make(chan int, 1)
	go func() {
		args := []string{"serve", "--set", "gateway.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0", "--set", "gateway.shutdown_delay=0s"}
		done <- cli.Run(ctx, args, cli.Environment{Out: io.Discard, Err: log})
	}()
	stop = func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("serve: exit code %d\n%s", code, log)
		}
	}
	select {
	case edge := <-log.serving:
		return log, []string{"SHOAL_EDGE=http://" + edge}, stop
	case code := <-done:
		t.Fatalf("serve ended with %d: %s", code, log)
		return nil, nil, nil
	}
}

func writeConfig(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile("config.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const aSite = "sites: [{host: www.example.org, content: /ipfs/bafkqaaa}]\n"

func TestReload(t *testing.T) {
	log, environ, stop := edgeWithFile(t, "log: {level: info}\n")
	defer stop()
	if code, out, stderr := shoal(t, environ, "reload"); code != 0 || out != "nothing changed\n" {
		t.Errorf("exit code %d, %q, %q", code, out, stderr)
	}
	writeConfig(t, aSite+"gateway: {max_requests: 7}\nlog: {level: debug}\ndata: /elsewhere\nswarm: {zone: b}\n")
	code, out, stderr := shoal(t, environ, "reload")
	want := `changed        gateway.max_requests: 4096 -> 7
changed        sites: +{host: www.example.org, content: /ipfs/bafkqaaa}
changed        log.level: info -> debug
needs restart  data: ./data -> /elsewhere
needs restart  swarm.zone: "" -> b
`
	if code != 0 || out != want {
		t.Errorf("exit code %d, %s\n%s\nwant\n%s", code, stderr, out, want)
	}
	if !strings.Contains(log.String(), "level=DEBUG") {
		t.Error("the level of the log is the old one")
	}
	code, out, _ = shoal(t, environ, "reload", "--json")
	if code != 0 || out != `{"changed":[],"needs_restart":[{"key":"data","from":"./data","to":"/elsewhere"},{"key":"swarm.zone","to":"b"}]}`+"\n" {
		t.Errorf("exit code %d, %s", code, out)
	}
	writeConfig(t, aSite+"gateway: {max_request: 7}\n")
	code, out, stderr = shoal(t, environ, "reload")
	if code != 1 || out != "" || !strings.Contains(stderr, "nothing was changed: config.yaml:2: gateway.max_request: unknown setting") {
		t.Errorf("exit code %d, %q, %q", code, out, stderr)
	}
	// A file that is gone is not the same as no settings at all.
	if err := os.Remove("config.yaml"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr = shoal(t, environ, "reload"); code != 1 || !strings.Contains(stderr, "config.yaml") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestReloadBySignal(t *testing.T) {
	log, environ, stop := edgeWithFile(t, "")
	defer stop()
	writeConfig(t, aSite)
	for _, want := range []string{"msg=reloaded changed=[sites]", "nothing was changed"} {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), want); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no %q in\n%s", want, log)
			}
		}
		writeConfig(t, "nonsense: 1\n")
	}
	if code, _, _ := shoal(t, environ, "reload"); code != 1 {
		t.Errorf("exit code %d", code)
	}
}
