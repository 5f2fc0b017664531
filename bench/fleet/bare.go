package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const bareProtocol = "/shoal/bench/bare/1"

func bareHost(listen ...string) (host.Host, error) {
	return libp2p.New(libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport), libp2p.ListenAddrStrings(listen...), libp2p.DisableRelay(), libp2p.DisableMetrics())
}

// serveBare writes size bytes into every stream, until its standard input ends. It
// prints its address.
func serveBare(size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	h, err := bareHost("/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return err
	}
	defer h.Close()
	data := make([]byte, 256<<10) // the size of a block
	h.SetStreamHandler(bareProtocol, func(s network.Stream) {
		defer s.Close()
		for left := n; left > 0; left -= len(data) {
			if _, err := s.Write(data[:min(left, len(data))]); err != nil {
				return
			}
		}
	})
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// bareStream returns how fast, in MB/s, so many bytes come over one libp2p stream
// from another process.
func bareStream(ctx context.Context, size int64) (speed float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "bare", strconv.FormatInt(size, 10))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		in.Close()
		err = errors.Join(err, cmd.Wait())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return 0, err
	}
	info, err := peer.AddrInfoFromString(strings.TrimSpace(line))
	if err != nil {
		return 0, err
	}
	h, err := bareHost()
	if err != nil {
		return 0, err
	}
	defer h.Close()
	if err := h.Connect(ctx, *info); err != nil {
		return 0, err
	}
	start := time.Now()
	s, err := h.NewStream(ctx, info.ID, bareProtocol)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	n, err := io.Copy(io.Discard, s)
	if err != nil || n != size {
		return 0, fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	return float64(size) / time.Since(start).Seconds() / 1e6, nil
}
