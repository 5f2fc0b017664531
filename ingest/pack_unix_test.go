//go:build unix

package ingest_test

import (
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-cdn/shoal/ingest"
)

func TestPackRefusesPipes(t *testing.T) {
	top := folder(t, map[string]string{"a": "1"})
	if err := syscall.Mkfifo(filepath.Join(top, "pipe"), 0o600); err != nil {
		t.Skip(err)
	}
	for _, paths := range [][]string{{top}, {filepath.Join(top, "pipe")}} {
		err := ingest.Pack(t.Context(), io.Discard, paths, nil)
		if err == nil || !strings.Contains(err.Error(), "pipe: it is a device, socket or named pipe") {
			t.Errorf("%s: got %v", paths, err)
		}
	}
}
