//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// halves are two network namespaces, each with a wire to this one and one to a
// router between them.
//
//	this namespace (origin, visitors)
//	   |                  |
//	  left -- router -- right
//
// The router stops passing packets on when the fleet is to be split: they vanish
// without a sign, as in a network that is cut.
type halves struct {
	t                   *testing.T
	left, right, router string // namespaces
}

// The addresses come from the range for tests of network devices (RFC 2544), so
// they are nobody's.
const (
	leftToRouter, routerToLeft   = "198.18.0.2", "198.18.0.1"
	rightToRouter, routerToRight = "198.18.0.6", "198.18.0.5"
	leftToHere, hereToLeft       = "198.18.0.10", "198.18.0.9"
	rightToHere, hereToRight     = "198.18.0.14", "198.18.0.13"
)

// needNamespaces skips the test where no namespaces may be made.
func needNamespaces(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces are made with ip, from iproute2, which is not here")
	}
}

// addNamespace makes a namespace for as long as the test runs.
func (h *halves) addNamespace(kind string) string {
	h.t.Helper()
	ns := fmt.Sprintf("shoal%d-%s", os.Getpid(), kind)
	if out, err := exec.Command("ip", "netns", "add", ns).CombinedOutput(); err != nil {
		h.t.Skipf("network namespaces cannot be made here: %v: %s", err, out)
	}
	h.t.Cleanup(func() { h.ip("netns", "del", ns) })
	return ns
}

// newHalves makes the namespaces, or skips the test where that is not allowed.
func newHalves(t *testing.T) *halves {
	t.Helper()
	needNamespaces(t)
	h := &halves{t: t}
	h.left, h.right, h.router = h.addNamespace("left"), h.addNamespace("right"), h.addNamespace("router")
	h.wire(h.left, leftToRouter, h.router, routerToLeft)
	h.wire(h.right, rightToRouter, h.router, routerToRight)
	h.wire(h.left, leftToHere, "", hereToLeft)
	h.wire(h.right, rightToHere, "", hereToRight)
	h.ip("-n", h.left, "route", "add", rightToRouter, "via", routerToLeft)
	h.ip("-n", h.right, "route", "add", leftToRouter, "via", routerToRight)
	h.heal()
	return h
}

// ip runs iproute2.
func (h *halves) ip(args ...string) {
	h.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		h.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// link names the interface that has an address. Names of interfaces are short, so they
// are made of the last numbers of the addresses.
func link(addr string) string {
	return fmt.Sprintf("sh%d-%s", os.Getpid()%1_000_000, addr[strings.LastIndex(addr, ".")+1:])
}

// wire connects two namespaces; an empty name is this one.
func (h *halves) wire(nsA, addrA, nsB, addrB string) {
	h.t.Helper()
	a, b := link(addrA), link(addrB)
	h.ip("link", "add", a, "type", "veth", "peer", "name", b)
	for _, end := range [][3]string{{nsA, a, addrA}, {nsB, b, addrB}} {
		ns, link, addr := end[0], end[1], end[2]
		var in []string
		if ns != "" {
			h.ip("link", "set", link, "netns", ns)
			in = []string{"-n", ns}
			h.ip(append(in, "link", "set", "lo", "up")...)
		} else {
			h.t.Cleanup(func() { _ = exec.Command("ip", "link", "del", link).Run() })
		}
		h.ip(append(in, "addr", "add", addr+"/30", "dev", link)...)
		h.ip(append(in, "link", "set", link, "up")...)
	}
}

// split cuts the network in two.
func (h *halves) split() { h.forward("0") }

// heal makes it one again.
func (h *halves) heal() { h.forward("1") }

func (h *halves) forward(on string) {
	h.t.Helper()
	h.ip("netns", "exec", h.router, "sh", "-c", "echo "+on+" > /proc/sys/net/ipv4/ip_forward")
}

// cutFor is how long the fleet is cut in two: long enough that connections which
// both sides have given up are not yet given up by the kernel, which would carry on
// with them whenever it tries again.
const cutFor = 30 * time.Second

// The fleet is cut in two. Each half goes on by itself, with the origin; when the
// cut is healed, they are one fleet again.
func TestSplitFleet(t *testing.T) {
	h := newHalves(t)
	r := &rig{t: t}
	var err error
	if r.site, err = lab.NewSite(7, 400, 3<<20); err != nil {
		t.Fatal(err)
	}
	if r.origin, err = lab.NewOrigin("0.0.0.0:0", r.site); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.origin.Close)
	r.origin.Delay(slowly)
	if r.Fleet, err = lab.NewFleet(inTime(t), binary, t.TempDir(), "", "cache.memory=64MiB", "cache.disk=128MiB"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	left := []*lab.Edge{r.startIn(h.left, leftToHere, leftToRouter, hereToLeft), r.startIn(h.left, leftToHere, leftToRouter, hereToLeft)}
	right := []*lab.Edge{r.startIn(h.right, rightToHere, rightToRouter, hereToRight), r.startIn(h.right, rightToHere, rightToRouter, hereToRight)}
	r.settled(r.Edges...)

	// The crowd is half way when the cut comes.
	var crowds sync.WaitGroup
	crowds.Go(func() { r.crowd(r.Edges...) })
	if err := r.origin.Wait(inTime(t), len(r.site.Blocks)/3); err != nil {
		t.Fatal(err)
	}
	h.split()
	end := time.Now().Add(cutFor)
	crowds.Wait()
	r.settled(left...)
	r.settled(right...)
	for time.Now().Before(end) {
		r.crowd(r.Edges...)
	}
	r.askedAtMost(2)

	h.heal()
	since := time.Now()
	healed, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Settled(healed, r.Edges...); err != nil {
		t.Errorf("ten seconds after the cut was healed: %v", err)
	}
	t.Logf("one fleet again after %s", time.Since(since).Round(10*time.Millisecond))
	r.crowd(r.Edges...)
	r.askedAtMost(2)
	t.Logf("the origin was asked %.2f times for each block", r.origin.Ratio())
}

// startIn starts one more edge in a namespace.
func (r *rig) startIn(namespace, public, swarm, origin string) *lab.Edge {
	r.t.Helper()
	p := r.Plan(fmt.Sprintf("edge-%d", len(r.Edges)), "swarm.listen=[/ip4/"+swarm+"/tcp/0]", lab.OriginSetting("http://"+origin+":"+r.origin.Port()))
	p.Namespace, p.Host = namespace, public
	e, err := r.AddPlan(inTime(r.t), p)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}
