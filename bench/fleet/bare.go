package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
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

// child runs this program once more with other arguments and returns the line that it
// prints first. stop ends it.
func child(ctx context.Context, args ...string) (line string, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if line, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return strings.TrimSpace(line), stop, nil
}

// dialBare opens a stream to a process that runs serveBare. The host must be closed.
func dialBare(ctx context.Context, addr string) (host.Host, network.Stream, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return nil, nil, err
	}
	h, err := bareHost()
	if err != nil {
		return nil, nil, err
	}
	if err = h.Connect(ctx, *info); err == nil {
		var s network.Stream
		if s, err = h.NewStream(ctx, info.ID, bareProtocol); err == nil {
			return h, s, nil
		}
	}
	return nil, nil, errors.Join(err, h.Close())
}

// serveRelay answers HTTP requests with what serveBare sends, hashed in pieces of a
// MiB: what an edge cannot do without. It prints its URL.
func serveRelay(addr string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, s, err := dialBare(r.Context(), addr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer h.Close()
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush() // from here on, time is taken
		for data := make([]byte, 1<<20); ; {
			n, err := io.ReadFull(s, data)
			hashed.Store(sha256.Sum256(data[:n]))
			if _, failed := w.Write(data[:n]); err != nil || failed != nil {
				return
			}
		}
	}))
	fmt.Printf("http://%s\n", l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// hashed keeps the compiler from leaving the hashing out.
var hashed atomic.Value

// bareStream returns how fast, in MB/s, so many bytes come over one libp2p stream
// from another process; and relayed how fast they come when a third process is in
// between that hashes them and passes them on over HTTP.
func bareStream(ctx context.Context, size int64) (speed, relayed float64, err error) {
	addr, stop, err := child(ctx, "bare", strconv.FormatInt(size, 10))
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	h, s, err := dialBare(ctx, addr)
	if err != nil {
		return 0, 0, err
	}
	defer h.Close()
	if speed, err = drain(s, size); err != nil {
		return 0, 0, err
	}

	url, stopRelay, err := child(ctx, "relay", addr)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, stopRelay()) }()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, 0, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, 0, err
	}
	defer answer.Body.Close()
	relayed, err = drain(answer.Body, size)
	return speed, relayed, err
}

// drain reads size bytes and returns how fast they came, in MB/s.
func drain(r io.Reader, size int64) (float64, error) {
	start := time.Now()
	n, err := io.Copy(io.Discard, r)
	if err != nil || n != size {
		return 0, fmt.Errorf("%d of %d bytes: %w", n, size, err)
	}
	return float64(size) / time.Since(start).Seconds() / 1e6, nil
}
