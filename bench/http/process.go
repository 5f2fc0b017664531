package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cpu returns the processor time that the process and its children have used; 0
// where /proc does not tell.
func (s *server) cpu() time.Duration {
	total := time.Duration(0)
	for _, pid := range s.processes() {
		total += cpuOf(pid)
	}
	return total
}

// memory returns a figure of /proc/PID/status, in bytes, for the process and its
// children together: VmRSS is the resident memory, VmHWM the most it ever was. It is
// 0 where /proc does not tell.
func (s *server) memory(figure string) int64 {
	total := int64(0)
	for _, pid := range s.processes() {
		data, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(data), figure+":")
		number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		kib, _ := strconv.ParseInt(number, 10, 64)
		total += kib << 10
	}
	return total
}

// processes are the process and its children: nginx has its workers there.
func (s *server) processes() []string {
	pid := strconv.Itoa(s.cmd.Process.Pid)
	data, _ := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	return append(slices.Clip(strings.Fields(string(data))), pid)
}

func cpuOf(pid string) time.Duration {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return 0
	}
	// The second field is the program's name in brackets and may hold spaces;
	// utime and stime are the 14th and 15th, in hundredths of a second.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// mib is a number of bytes for people.
func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
