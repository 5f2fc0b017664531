//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-cdn/shoal/e2e/lab"
)

// A ConfigMap is a folder of links that are swapped: config.yaml -> ..data/config.yaml,
// and ..data -> a folder per edition.
type configMap struct {
	t        *testing.T
	dir      string
	editions int
}

func (m *configMap) publish(text string) {
	m.t.Helper()
	m.editions++
	edition := fmt.Sprintf("..edition-%d", m.editions)
	for _, err := range []error{
		os.Mkdir(filepath.Join(m.dir, edition), 0o755),
		os.WriteFile(filepath.Join(m.dir, edition, "config.yaml"), []byte(text), 0o644),
		os.Symlink(edition, filepath.Join(m.dir, "..new")),
		os.Rename(filepath.Join(m.dir, "..new"), filepath.Join(m.dir, "..data")),
	} {
		if err != nil {
			m.t.Fatal(err)
		}
	}
	link := filepath.Join(m.dir, "config.yaml")
	if _, err := os.Lstat(link); err != nil {
		if err := os.Symlink("..data/config.yaml", link); err != nil {
			m.t.Fatal(err)
		}
	}
}

// Settings change under load, by signal and by command, right and wrong ones, while
// the origin is exchanged for another: no request fails.
func TestReloadUnderLoad(t *testing.T) {
	site, err := lab.NewSite(11, 300, 4<<20)
	if err != nil {
		t.Fatal(err)
	}
	origins := make([]*lab.Origin, 2)
	for i := range origins {
		if origins[i], err = lab.NewOrigin("", site); err != nil {
			t.Fatal(err)
		}
		defer origins[i].Close()
		origins[i].Delay(5 * time.Millisecond)
	}
	dir := t.TempDir()
	settings := &configMap{t: t, dir: dir}
	edition := func(i int) string {
		return fmt.Sprintf("gateway: {serve: any, max_requests: %d}\norigins: [{type: gateway, url: %q}]\nsites: [{host: s%d.example.org, content: /ipfs/%s}]\nlog: {level: %s}\n",
			1000+i, origins[i%2].URL(), i, site.Root, []string{"info", "debug"}[i%2])
	}
	settings.publish(edition(0))
	// A small memory, so that content comes from the disk and the origin as well.
	e, err := lab.Start(inTime(t), lab.Plan{Binary: binary, Dir: dir, Set: []string{"cache.memory=1MiB", "cache.disk=16MiB"}})
	if err != nil {
		t.Fatal(err)
	}
	tidy(t, e)

	balancer := lab.NewBalancer(e)
	defer balancer.Close()
	tally, stop, done := &lab.Tally{}, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		balancer.Load(site, 8, tally, stop)
	}()
	const rounds = 20
	for i := 1; i <= rounds; i++ {
		for before := tally.Requests(); tally.Requests() < before+50; {
			time.Sleep(time.Millisecond)
		}
		switch settings.publish(edition(i)); i % 3 {
		case 0:
			settings.publish("gateway: {serve: nobody}\n")
			if out, err := e.Command(inTime(t), "reload"); err == nil || !strings.Contains(err.Error()+out, "gateway.serve") {
				t.Errorf("a wrong file: %s, %v", out, err)
			}
			settings.publish(edition(i))
			fallthrough
		case 1:
			out, err := e.Command(inTime(t), "reload")
			if err != nil || !strings.Contains(out, fmt.Sprintf("-> %d", 1000+i)) {
				t.Errorf("shoal reload: %s, %v", out, err)
			}
		case 2:
			seen := len(e.Log.Lines(`"msg":"reloaded"`))
			if err := syscall.Kill(e.PID(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			for ctx := inTime(t); len(e.Log.Lines(`"msg":"reloaded"`)) == seen; time.Sleep(time.Millisecond) {
				if ctx.Err() != nil {
					t.Fatal("SIGHUP did not lead to a reload")
				}
			}
		}
		if a, err := e.Get(inTime(t), fmt.Sprintf("s%d.example.org", i), "/index.html"); err != nil || a.Status != 200 {
			t.Errorf("the new site: status %d, %v", a.Status, err)
		}
	}
	close(stop)
	<-done
	if failed, err := tally.Failed(); failed > 0 {
		t.Errorf("%d of %d requests failed: %v", failed, tally.Requests(), err)
	}
	for i, o := range origins {
		if total, _ := o.Fetches(); total == 0 {
			t.Errorf("origin %d was never asked", i)
		}
	}
	if ok, err := e.Metric(inTime(t), "shoal_config_last_reload_successful"); err != nil || ok != 1 {
		t.Errorf("the last reload: %v, %v", ok, err)
	}
	t.Logf("%d reloads, %d requests", rounds, tally.Requests())
}
