package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Zones is a network of zones, each a network namespace, with a router between them that
// delays what it passes on, counts it, and can cut a zone off. Visitors and the origin are
// outside and reach every zone without delay.
//
//	this namespace (origin, visitors)
//	   |veth           |veth
//	 zone 0 --tun-- router (this process) --tun-- zone 1 ...
//
// The delay is made here and not by the kernel's netem, which many kernels lack. All edges
// of a zone have one address and talk over its loopback.
type Zones struct {
	zones []*zoneNet
	delay time.Duration
	wires atomic.Int64 // bytes of packets that crossed
}

type zoneNet struct {
	name    string
	outside string // the end of the wire that is in this process's namespace
	tun     *os.File
	cut     atomic.Bool
	// out are the packets for the other zones, by zone, in the order in which they are due.
	out  []chan packet
	wait sync.WaitGroup
}

type packet struct {
	due  time.Time
	data []byte
}

// mtu is that of a large frame: the router is not what is measured.
const mtu = 9000

// ErrNoNamespaces says that network namespaces cannot be made here.
var ErrNoNamespaces = errors.New("network namespaces cannot be made here")

// NewZones makes n zones with a one-way delay between any two. It needs root, ip (of
// iproute2) and /dev/net/tun; an error that wraps [ErrNoNamespaces] says what is missing.
func NewZones(n int, delay time.Duration) (*Zones, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: they need root", ErrNoNamespaces)
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("%w: they are made with ip, of iproute2: %w", ErrNoNamespaces, err)
	}
	z := &Zones{delay: delay}
	for k := range n {
		zone, err := newZone(k, n)
		if err != nil {
			z.Close()
			return nil, err
		}
		z.zones = append(z.zones, zone)
	}
	for k, zone := range z.zones {
		zone.wait.Go(func() { z.route(k) })
		for to, packets := range zone.out {
			zone.wait.Go(func() { z.deliver(packets, z.zones[to]) })
		}
	}
	return z, nil
}

// Addresses are from the range for tests of network devices (RFC 2544), so they are
// nobody's. The third number of a zone's is its own, which is how packets find it.

// Inside is the address of a zone's edges for siblings.
func (z *Zones) Inside(k int) string { return fmt.Sprintf("198.18.%d.1", k) }

// Public is the address of a zone's edges for visitors.
func (z *Zones) Public(k int) string { return fmt.Sprintf("198.19.%d.2", k) }

// Outside is this process's address for the edges of a zone.
func (z *Zones) Outside(k int) string { return fmt.Sprintf("198.19.%d.1", k) }

// Namespace is the name of a zone's network namespace.
func (z *Zones) Namespace(k int) string { return z.zones[k].name }

// Crossed returns how many bytes have crossed between zones, headers included.
func (z *Zones) Crossed() int64 { return z.wires.Load() }

// Cut has what goes to a zone and comes from it vanish without a sign, or not any more.
func (z *Zones) Cut(k int, cut bool) { z.zones[k].cut.Store(cut) }

// Close removes the zones. What runs in them must have ended.
func (z *Zones) Close() {
	for _, zone := range z.zones {
		zone.tun.Close()
	}
	for _, zone := range z.zones {
		zone.wait.Wait()
		// The kernel would take the wire away with the namespace, but later.
		_ = errors.Join(ip("link", "del", zone.outside), ip("netns", "del", zone.name))
	}
}

func newZone(k, n int) (*zoneNet, error) {
	zone := &zoneNet{name: fmt.Sprintf("shoal%d-zone%d", os.Getpid(), k), out: make([]chan packet, n)}
	for i := range zone.out {
		zone.out[i] = make(chan packet, 4096)
	}
	if err := ip("netns", "add", zone.name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoNamespaces, err)
	}
	out, in := fmt.Sprintf("sz%d-%d", os.Getpid()%1_000_000, k), fmt.Sprintf("sy%d-%d", os.Getpid()%1_000_000, k)
	zone.outside = out
	var err error
	zone.tun, err = openTUN(zone.name)
	err = errors.Join(err,
		ip("-n", zone.name, "link", "set", "lo", "up"),
		ip("-n", zone.name, "addr", "add", fmt.Sprintf("198.18.%d.1/16", k), "dev", "zone"),
		ip("-n", zone.name, "link", "set", "zone", "mtu", fmt.Sprint(mtu), "up"),
		ip("link", "add", out, "type", "veth", "peer", "name", in, "netns", zone.name),
		ip("addr", "add", fmt.Sprintf("198.19.%d.1/30", k), "dev", out),
		ip("link", "set", out, "up"),
		ip("-n", zone.name, "addr", "add", fmt.Sprintf("198.19.%d.2/30", k), "dev", in),
		ip("-n", zone.name, "link", "set", in, "up"))
	if err != nil {
		if zone.tun != nil {
			zone.tun.Close()
		}
		_ = ip("netns", "del", zone.name)
		return nil, err
	}
	return zone, nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// openTUN makes the device "zone" in a namespace. Whoever opens a device is in its
// namespace at that moment; what goes through it is read and written from here.
func openTUN(namespace string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		f, err := openTUNHere(namespace)
		done <- result{f, err}
	}()
	r := <-done
	return r.f, r.err
}

func openTUNHere(namespace string) (*os.File, error) {
	ns, err := os.Open("/var/run/netns/" + namespace)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter namespace %s: %w", namespace, err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq("zone")
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a TUN device in namespace %s: %w", namespace, err)
	}
	return os.NewFile(uintptr(fd), "zone"), nil
}

// route takes what comes out of a zone, until its device is closed.
func (z *Zones) route(k int) {
	zone := z.zones[k]
	defer func() {
		for _, c := range zone.out {
			close(c)
		}
	}()
	for {
		data := make([]byte, mtu)
		n, err := zone.tun.Read(data)
		if err != nil {
			return
		}
		if n < 20 || data[0]>>4 != 4 || int(data[18]) >= len(z.zones) {
			continue
		}
		if zone.cut.Load() {
			continue
		}
		z.wires.Add(int64(n))
		select {
		case zone.out[data[18]] <- packet{time.Now().Add(z.delay), data[:n]}:
		default: // as a router does whose queue is full
		}
	}
}

// deliver brings packets to a zone when they are due.
func (z *Zones) deliver(packets <-chan packet, to *zoneNet) {
	for p := range packets {
		time.Sleep(time.Until(p.due))
		if !to.cut.Load() {
			_, _ = to.tun.Write(p.data) // a device that is closed or full loses it
		}
	}
}
