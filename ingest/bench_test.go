package ingest_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/shoal-cdn/shoal/task"
)

// zeros is content that costs nothing to make.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// peakMemory returns the largest resident set of this process so far, in MiB, and
// starts the count anew, where the system tells (Linux).
func peakMemory() (mib float64) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kib); err == nil {
			mib = kib / 1024
		}
	}
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	return mib
}

// BenchmarkTarOneLargeFile imports one file of 5 GiB; run it with -benchtime 1x.
// The store keeps no leaves, so the peak is what the import itself needs.
func BenchmarkTarOneLargeFile(b *testing.B) {
	const size = 5 << 30
	b.SetBytes(size)
	peakMemory()
	for b.Loop() {
		m := newMemory()
		m.noLeaves = true
		res, err := newIngester(b, m).Tar(b.Context(), streamOne(size, zeros{}), task.Import{Pin: true}, nil)
		if err != nil || res.Bytes != size {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(peakMemory(), "MiB-peak-RSS")
}

// BenchmarkTarManyFiles imports 10 000 files of 4 KiB in 100 folders.
func BenchmarkTarManyFiles(b *testing.B) {
	const count, size = 10_000, 4096
	b.SetBytes(count * size)
	peakMemory()
	for b.Loop() {
		m := newMemory()
		m.noLeaves = true
		pr, pw := io.Pipe()
		go func() {
			tw := tar.NewWriter(pw)
			body := make([]byte, size)
			for i := range count {
				copy(body, fmt.Sprintf("%d", i))
				if tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d%02d/f%d", i%100, i), Mode: 0o644, Size: size}) != nil {
					break
				}
				_, _ = tw.Write(body)
			}
			pw.CloseWithError(tw.Close())
		}()
		if res, err := newIngester(b, m).Tar(b.Context(), pr, task.Import{Pin: true}, nil); err != nil || res.Files != count {
			b.Fatal(res, err)
		}
	}
	b.ReportMetric(peakMemory(), "MiB-peak-RSS")
}

// BenchmarkCAR imports a CAR of 64 MiB.
func BenchmarkCAR(b *testing.B) {
	m := newMemory()
	res := importTar(b, newIngester(b, m), task.Import{Pin: true}, file("big", randomText(64<<20)))
	var sections []section
	for _, blk := range m.blocks {
		sections = append(sections, section{blk.Cid(), blk.RawData()})
	}
	data := makeCAR(b, res.Roots, sections...)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := newIngester(b, newMemory()).CAR(b.Context(), bytes.NewReader(data), task.Import{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
