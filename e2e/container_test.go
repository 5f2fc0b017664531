//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// inContainer makes of a folder what a container's runtime would: a root that cannot
// be written to, with one volume, in which a program is PID 1, under a user ID that
// nobody has heard of, without capabilities and without a way to get any.
const inContainer = `set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind "$2" "$1/data"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
root=$1; shift 2
exec env -i SHOAL_CONFIG=/etc/shoal/config.yaml SHOAL_DATA=/data \
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
  "$(command -v chroot)" --userspec=123456:0 --groups=0 "$root" "$@"
`

// The image holds the static program and config.yaml, and nothing else that it needs:
// no shell, no /etc/passwd, no /tmp, no HOME. Here it runs as strictly as Kubernetes'
// restricted Pod Security has it.
func TestAsInAContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a root of its own")
	}
	for _, tool := range []string{"unshare", "mount", "setpriv", "chroot"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	image, volume := t.TempDir(), t.TempDir()
	for dir, mode := range map[string]os.FileMode{image: 0o755, volume: 0o770} { // 0770: group 0, as in the image
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"usr/local/bin", "etc/shoal", "data", "proc"} {
		if err := os.MkdirAll(filepath.Join(image, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	static := exec.CommandContext(inTime(t), "go", "build", "-trimpath", "-o", filepath.Join(image, "usr/local/bin/shoal"), "github.com/shoal-cdn/shoal")
	static.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := static.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write := func(settings string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(image, "etc/shoal/config.yaml"), []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")

	plan := lab.Plan{Binary: "/usr/local/bin/shoal", Dir: t.TempDir(), Set: []string{"data=/data"},
		Through: []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inContainer, "sh", image, volume}}
	e := startInContainer(t, plan)
	for _, want := range []string{"\t1\n", "Uid:\t123456\t", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"} {
		if status := e.status(); !strings.Contains(status, want) {
			t.Errorf("not what a container has: no %q in\n%s", want, status)
		}
	}
	dir, files := website(t)
	root := e.add(dir)
	if err := e.serves("127.0.0.1", "/ipfs/"+root, files); err != nil {
		t.Error(err)
	}
	write("sites: [{host: www.example.org, content: /ipfs/" + root + "}]\n")
	if out, err := e.shoal("reload"); err != nil || !strings.Contains(out, "www.example.org") {
		t.Errorf("reload: %s, %v", out, err)
	}
	e.mustServe("www.example.org", "", map[string][]byte{"style.css": files["style.css"]})
	e.stop()

	// The next one finds its volume.
	e = startInContainer(t, plan)
	e.mustServe("www.example.org", "", map[string][]byte{"style.css": files["style.css"]})
	e.stop()

	// A volume that it may not write to is a mistake in the set-up, and it says so.
	if err := os.Chmod(volume, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(volume, "blocks")); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Start(inTime(t), plan); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "/data") {
		t.Errorf("a volume that cannot be written to: %v", err)
	}
}

// contained is an edge in a container.
type contained struct {
	*edge
	pid int // as seen from outside
}

func startInContainer(t *testing.T, plan lab.Plan) *contained {
	t.Helper()
	started, err := lab.Start(inTime(t), plan)
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, started)
	started.Binary = binary // for commands, which run outside
	c := &contained{edge: &edge{started, t}}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", started.PID(), started.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(children), &c.pid); err != nil {
		t.Fatalf("children %q: %v", children, err)
	}
	return c
}

// status is what the kernel says about the program.
func (c *contained) status() string {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// stop sends SIGTERM to PID 1. What made its namespaces does not pass it on.
func (c *contained) stop() {
	c.t.Helper()
	if err := syscall.Kill(c.pid, syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	if code := c.edge.stop(); code != 0 {
		c.t.Errorf("SIGTERM: exit code %d", code)
	}
}
