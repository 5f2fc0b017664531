//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// inContainer makes of a folder what a container's runtime would: a root that cannot
// be written to, with one volume, in which a program is PID 1, under a user ID that
// nobody has heard of, without capabilities and without a way to get any. Its words are
// the root, the volume, the user and the group, the environment, and the command.
const inContainer = `set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount --bind "$2" "$1/data"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
root=$1 user=$3 group=$4 env=$5; shift 5
exec env -i $env \
  setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
  "$(command -v chroot)" --userspec="$user:$group" --groups="$group" "$root" "$@"
`

// An image is what the Dockerfile makes: a root, and how it is run.
type image struct {
	t      *testing.T
	root   string
	env    string
	health []string
	user   string // as USER has it
	// Of /data, which a fresh volume takes over.
	mode  os.FileMode
	owner [2]int
	// Where the container is on the network.
	namespace, address string
}

// instruction returns the text of the only instruction of the Dockerfile's last stage
// that begins with these words, and what the expression finds in it.
func instruction(t *testing.T, dockerfile, words, expression string) []string {
	t.Helper()
	var found [][]string
	for line := range strings.Lines(dockerfile) {
		if strings.HasPrefix(line, words) {
			found = append(found, regexp.MustCompile(expression).FindStringSubmatch(strings.TrimSpace(line)))
		}
	}
	if len(found) != 1 || found[0] == nil {
		t.Fatalf("the Dockerfile has no instruction %q that is like %s, or several", words, expression)
	}
	return found[0]
}

// newImage lays out what the image holds, the static program and config.yaml and nothing
// else that it needs, and reads in the Dockerfile how it is run.
func newImage(t *testing.T) *image {
	t.Helper()
	needNamespaces(t)
	for _, tool := range []string{"unshare", "mount", "setpriv", "chroot", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")
	build, last := joined[:strings.LastIndex(joined, "\nFROM ")], joined[strings.LastIndex(joined, "\nFROM "):]
	i := &image{t: t, root: t.TempDir()}
	i.env = instruction(t, last, "ENV ", `^ENV (.*)$`)[1]
	i.user = instruction(t, last, "USER ", `^USER ([0-9]+:[0-9]+)$`)[1]
	if instruction(t, last, "ENTRYPOINT ", `^ENTRYPOINT \["(.*)"\]$`)[1] != "/usr/local/bin/shoal" || instruction(t, last, "CMD ", `^CMD \["(.*)"\]$`)[1] != "serve" {
		t.Error("the image runs another command than this test")
	}
	if err := json.Unmarshal([]byte(instruction(t, last, "HEALTHCHECK ", `^HEALTHCHECK .*CMD (\[.*\])$`)[1]), &i.health); err != nil {
		t.Fatal(err)
	}
	// The mode is made where the folder is, and comes with its parent: dockerd before 29.6
	// gives a folder that is copied by name 0755, whatever --chmod says.
	mode, _ := strconv.ParseUint(instruction(t, build, "RUN --mount=type=cache,target=/go/pkg/mod --mount", `&& mkdir -p /out/root/data && chmod 0([0-7]+) /out/root/data`)[1], 8, 32)
	owner := instruction(t, last, "COPY --from=build --chown", `^COPY --from=build --chown=([0-9]+):([0-9]+) /out/root/ /$`)
	i.mode = os.FileMode(mode)
	for n := range i.owner {
		i.owner[n], _ = strconv.Atoi(owner[n+1])
	}
	i.layOut()
	i.connect()
	return i
}

func (i *image) layOut() {
	i.t.Helper()
	if err := os.Chmod(i.root, 0o755); err != nil {
		i.t.Fatal(err)
	}
	for _, dir := range []string{"usr/local/bin", "etc/shoal", "data", "proc"} {
		if err := os.MkdirAll(filepath.Join(i.root, dir), 0o755); err != nil {
			i.t.Fatal(err)
		}
	}
	program, err := static()
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(i.root, "usr/local/bin/shoal"), program, 0o755); err != nil {
		i.t.Fatal(err)
	}
}

// static builds the program as the Dockerfile does, once.
var static = sync.OnceValues(func() ([]byte, error) {
	path := binary + "-static"
	build := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/shoal-cdn/shoal")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program for the image: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// connect gives the containers a network of their own, with a wire to this one.
func (i *image) connect() {
	i.t.Helper()
	h := &halves{t: i.t}
	i.namespace, i.address = h.addNamespace("container"), inContainerAddr
	h.wire(i.namespace, i.address, "", hereToContainer)
}

// settings writes config.yaml. It says where the health check finds the edge.
func (i *image) settings(more string) {
	i.t.Helper()
	text := "admin: {listen: '" + i.address + ":8081', token: of-no-use-to-the-check}\n" + more
	if err := os.WriteFile(filepath.Join(i.root, "etc/shoal/config.yaml"), []byte(text), 0o644); err != nil {
		i.t.Fatal(err)
	}
}

// volume returns a fresh one: it has owner and mode of the folder in the image.
func (i *image) volume() string {
	i.t.Helper()
	dir := i.t.TempDir()
	if err := os.Chown(dir, i.owner[0], i.owner[1]); err != nil {
		i.t.Fatal(err)
	}
	if err := os.Chmod(dir, i.mode); err != nil {
		i.t.Fatal(err)
	}
	return dir
}

// plan says how a container is started that is run as a user, UID:GID.
func (i *image) plan(volume, user string, set ...string) lab.Plan {
	uid, gid, _ := strings.Cut(user, ":")
	return lab.Plan{Binary: "/usr/local/bin/shoal", Dir: i.t.TempDir(), Host: i.address,
		Set: append([]string{"data=/data", "admin.listen=" + i.address + ":8081"}, set...),
		Through: []string{"ip", "netns", "exec", i.namespace, "unshare", "--mount", "--pid", "--fork", "--kill-child",
			"sh", "-c", inContainer, "sh", i.root, volume, uid, gid, i.env}}
}

// The image runs as strictly as Kubernetes' restricted Pod Security has it: under its
// own user and under any other of group 0, on a fresh volume.
func TestAsInAContainer(t *testing.T) {
	i := newImage(t)
	dir, files := website(t)
	for _, user := range []string{i.user, "123456:0"} {
		i.settings("")
		volume := i.volume()
		plan := i.plan(volume, user)
		e := i.start(plan)
		uid, _, _ := strings.Cut(user, ":")
		for _, want := range []string{"\t1\n", "Uid:\t" + uid + "\t", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"} {
			if status := e.status(); !strings.Contains(status, want) {
				t.Errorf("not what a container has: no %q in\n%s", want, status)
			}
		}
		if out, err := e.healthy(); err != nil {
			t.Errorf("%s: the health check: %v: %s", user, err, out)
		}
		root := e.add(dir)
		if err := e.serves(i.address, "/ipfs/"+root, files); err != nil {
			t.Error(err)
		}
		i.settings("sites: [{host: www.example.org, content: /ipfs/" + root + "}]\n")
		if out, err := e.shoal("reload"); err != nil || !strings.Contains(out, "www.example.org") {
			t.Errorf("reload: %s, %v", out, err)
		}
		e.mustServe("www.example.org", "", map[string][]byte{"style.css": files["style.css"]})
		e.stop()

		// The next one finds its volume.
		e = i.start(plan)
		e.mustServe("www.example.org", "", map[string][]byte{"style.css": files["style.css"]})
		e.stop()
	}

	// A volume that it may not write to is a mistake in the set-up, and it says so.
	volume := i.volume()
	if err := os.Chmod(volume, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.Start(inTime(t), i.plan(volume, "123456:0")); err == nil || !strings.Contains(err.Error(), "exit status 2") || !strings.Contains(err.Error(), "/data") {
		t.Errorf("a volume that cannot be written to: %v", err)
	}
}

// The health check says that an edge is not well which does not answer, and it is the
// same check that finds it well again.
func TestHealthCheckOfTheImage(t *testing.T) {
	i := newImage(t)
	i.settings("")
	e := i.start(i.plan(i.volume(), i.user))
	if out, err := e.healthy(); err != nil {
		t.Errorf("an edge that serves: %v: %s", err, out)
	}
	// The check of an edge that hangs ends by itself, before a runtime would kill it.
	e.signal(syscall.SIGSTOP)
	out, err := e.healthy()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(out, "does not answer") {
		t.Errorf("an edge that hangs: %v: %s", err, out)
	}
	e.signal(syscall.SIGCONT)
	if out, err := e.healthy(); err != nil {
		t.Errorf("an edge that goes on: %v: %s", err, out)
	}
	e.stop()
}

// A volume that is smaller than cache.disk, as after a claim has grown: new content is
// kept in what there is, and in the rest when the volume has it.
func TestVolumeThatGrowsLater(t *testing.T) {
	i := newImage(t)
	i.settings("")
	volume := i.volume()
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", append(args, volume)...).CombinedOutput(); err != nil {
			t.Fatalf("mount %v: %v: %s", args, err, out)
		}
	}
	mount("-t", "tmpfs", "-o", fmt.Sprintf("size=64m,mode=0%o,uid=%d,gid=%d", i.mode, i.owner[0], i.owner[1]), "tmpfs")
	t.Cleanup(func() { _ = exec.Command("umount", volume).Run() })

	e := i.start(i.plan(volume, i.user, "cache.disk=160MiB", "cache.memory=0", "gateway.serve=any"))
	capacity := func() int64 {
		t.Helper()
		stats, err := e.Stats(inTime(t))
		if err != nil {
			t.Fatal(err)
		}
		return stats.Store.CapacityBytes
	}
	if got := capacity(); got > 64<<20 || got < 48<<20 {
		t.Errorf("on a volume of 64 MiB, %d bytes may be taken", got)
	}
	if len(e.Log.Lines("has less room than the block store may take")) != 1 {
		t.Errorf("the log does not say that the volume is small:\n%s", e.Log)
	}
	random := rand.NewChaCha8([32]byte{7})
	for n := range 5 {
		data := make([]byte, 24<<20)
		_, _ = random.Read(data)
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		root := e.add("--no-pin", file)
		got, err := e.get(i.address, "/ipfs/"+root)
		if err != nil || got.Status != http.StatusOK || string(got.Body) != string(data) {
			t.Errorf("file %d is not kept: status %d, %d bytes, %v", n, got.Status, len(got.Body), err)
		}
	}
	if full, err := e.Metric(inTime(t), "shoal_store_write_failures_total"); err != nil || full != 0 {
		t.Errorf("%v writes failed, %v", full, err)
	}

	mount("-o", "remount,size=256m")
	for ctx := inTime(t); capacity() != 160<<20; time.Sleep(50 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("on a volume of 256 MiB, only %d bytes may be taken", capacity())
		}
	}
	e.stop()
}

// contained is an edge in a container.
type contained struct {
	*edge
	image *image
	plan  lab.Plan
	pid   int // as seen from outside; 0 when it has ended
}

func (i *image) start(plan lab.Plan) *contained {
	i.t.Helper()
	started, err := lab.Start(inTime(i.t), plan)
	if err != nil {
		i.t.Fatal(err)
	}
	tidy(i.t, started)
	started.Binary = binary // for commands, which run outside
	c := &contained{&edge{started, i.t}, i, plan, 0}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", started.PID(), started.PID()))
	if err != nil {
		i.t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(children), &c.pid); err != nil {
		i.t.Fatalf("children %q: %v", children, err)
	}
	// A program with another user than its parent's does not end with it.
	i.t.Cleanup(func() {
		if c.pid != 0 {
			c.signal(syscall.SIGKILL)
		}
	})
	return c
}

// healthy runs the image's health check in the container, as a runtime does: with the
// image's environment, as the container's user.
func (c *contained) healthy() (string, error) {
	c.t.Helper()
	words := c.plan.Through[len(c.plan.Through)-3:] // user, group, environment
	args := append([]string{"-i"}, strings.Fields(words[2])...)
	args = append(args, "nsenter", "--target", strconv.Itoa(c.pid), "--mount", "--net", "--pid", "--root", "--wd=/",
		"--setuid", words[0], "--setgid", words[1])
	out, err := exec.CommandContext(inTime(c.t), "env", append(args, c.image.health...)...).CombinedOutput()
	return string(out), err
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

// signal reaches PID 1. What made its namespaces passes nothing on.
func (c *contained) signal(s syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.pid, s); err != nil {
		c.t.Fatal(err)
	}
}

// stop sends SIGTERM, and waits for the end.
func (c *contained) stop() {
	c.t.Helper()
	c.signal(syscall.SIGTERM)
	if code := c.edge.stop(); code != 0 {
		c.t.Errorf("SIGTERM: exit code %d", code)
	}
	c.pid = 0
}
