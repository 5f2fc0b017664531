package config_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/shoal-cdn/shoal/config"
)

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t *testing.T, text string, environ, set []string) *config.Loaded {
	t.Helper()
	loaded, err := config.Load(write(t, text), environ, set)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// The file in the repository says what the defaults are.
func TestShippedFileEqualsDefaults(t *testing.T) {
	shipped, err := config.Load(filepath.Join("..", "config.yaml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := yaml.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	got, err := yaml.Marshal(shipped.Config)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("config.yaml says\n%s\nthe defaults are\n%s", got, want)
	}
}

// Every setting is documented: it stands in the shipped file by name.
func TestShippedFileNamesEverySetting(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var visit func(key string, typ reflect.Type)
	visit = func(key string, typ reflect.Type) {
		if typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			name := f.Tag.Get("yaml")
			if !strings.Contains(string(text), name+":") {
				t.Errorf("config.yaml does not mention %s.%s", key, name)
			}
			visit(key+"."+name, f.Type)
		}
	}
	visit("", reflect.TypeFor[config.Config]())
}

// Every commented example in the shipped file is itself valid.
func TestShippedExamplesAreValid(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	car := filepath.Join(dir, "site.car")
	secret := filepath.Join(dir, "token")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	uncommented := strings.NewReplacer(
		": []", ":", "# - ", "- ", "./site.car", car, "/run/secrets/origin", secret,
		`secret: ""`, `secret: `+strings.Repeat("fleet", 13),
	).Replace(string(text))
	loaded, err := config.Load(write(t, uncommented), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded.Sites) != 2 || len(loaded.Origins) != 3 || len(loaded.Swarm.Allow) != 1 || len(loaded.Swarm.Peers) != 1 || len(loaded.Swarm.Announce) != 1 || len(loaded.Names.Resolvers) != 1 || len(loaded.Gateway.TrustedProxies) != 1 {
		t.Errorf("not all examples were read: %+v", loaded.Config)
	}
	if loaded.Origins[0].Token.Reveal() != "s3cret" {
		t.Errorf("token_file gave %q", loaded.Origins[0].Token.Reveal())
	}
}

func TestLaterSourcesWin(t *testing.T) {
	const file = "name: from-file\ncache: {memory: 1GiB, disk: 64MiB}\nlog: {level: debug}\n"
	loaded := load(t, file,
		[]string{"PATH=/bin", "SHOAL_CACHE_MEMORY=2GiB", "SHOAL_NAME=007", "SHOAL_LOG_FORMAT=json"},
		[]string{"cache.memory=3GiB"})
	c := loaded.Config
	if c.Name != "007" || c.Cache.Memory != 3<<30 || c.Cache.Disk != 64<<20 || c.Log.Level != "debug" || c.Log.Format != "json" {
		t.Errorf("got %+v", c)
	}
	if c.Gateway.Listen != ":8080" {
		t.Errorf("an unmentioned setting lost its default: %q", c.Gateway.Listen)
	}
}

func TestListsFromTheEnvironment(t *testing.T) {
	loaded := load(t, "", []string{
		"SHOAL_SITES=[{host: a.example, content: dnslink}, {host: b.example, content: /ipns/c.example}]",
		"SHOAL_GATEWAY_TRUSTED_PROXIES=10.0.0.0/8, 192.0.2.1/32",
		"SHOAL_GATEWAY_RETRIEVAL_TIMEOUT=1m",
		"SHOAL_GATEWAY_MAX_REQUESTS=7",
	}, []string{"gateway.hosts=[]"})
	c := loaded.Config
	if len(c.Sites) != 2 || c.Sites[1].Content != "/ipns/c.example" {
		t.Errorf("sites: %+v", c.Sites)
	}
	if len(c.Gateway.TrustedProxies) != 2 || c.Gateway.TrustedProxies[1] != "192.0.2.1/32" {
		t.Errorf("proxies: %q", c.Gateway.TrustedProxies)
	}
	if time.Duration(c.Gateway.RetrievalTimeout) != time.Minute || c.Gateway.MaxRequests != 7 || len(c.Gateway.Hosts) != 0 {
		t.Errorf("gateway: %+v", c.Gateway)
	}
}

func TestForeignVariablesAreReportedNotRefused(t *testing.T) {
	loaded := load(t, "", []string{"SHOAL_TOKEN=x", "SHOAL_LOG_LEVLE=debug"}, nil)
	if got := strings.Join(loaded.Warnings, "\n"); got != "the environment variable SHOAL_LOG_LEVLE names no setting" {
		t.Errorf("warnings: %s", got)
	}
}

// ofServices are what a kubelet puts into a Pod for the Services shoal, with the ports
// http and metrics-2, and shoal-admin, with one port that has no name.
var ofServices = []string{
	"SHOAL_SERVICE_HOST=10.0.0.1", "SHOAL_SERVICE_PORT=80", "SHOAL_SERVICE_PORT_HTTP=80", "SHOAL_SERVICE_PORT_METRICS_2=9090",
	"SHOAL_PORT=tcp://10.0.0.1:80", "SHOAL_PORT_80_TCP=tcp://10.0.0.1:80", "SHOAL_PORT_80_TCP_PROTO=tcp", "SHOAL_PORT_80_TCP_PORT=80", "SHOAL_PORT_80_TCP_ADDR=10.0.0.1",
	"SHOAL_PORT_9090_TCP=tcp://10.0.0.1:9090", "SHOAL_PORT_9090_TCP_PROTO=tcp", "SHOAL_PORT_9090_TCP_PORT=9090", "SHOAL_PORT_9090_TCP_ADDR=10.0.0.1",
	"SHOAL_ADMIN_SERVICE_HOST=10.0.0.2", "SHOAL_ADMIN_SERVICE_PORT=8081",
	"SHOAL_ADMIN_PORT=tcp://10.0.0.2:8081", "SHOAL_ADMIN_PORT_8081_TCP=tcp://10.0.0.2:8081", "SHOAL_ADMIN_PORT_8081_TCP_PROTO=tcp",
	"SHOAL_ADMIN_PORT_8081_TCP_PORT=8081", "SHOAL_ADMIN_PORT_8081_TCP_ADDR=10.0.0.2",
}

func TestUnknownVariables(t *testing.T) {
	for _, tc := range []struct {
		environ []string
		want    string
	}{
		{ofServices, ""},
		{append([]string{"SHOAL_LOG_LEVLE=debug", "SHOAL_PORTS=80"}, ofServices...), "SHOAL_LOG_LEVLE SHOAL_PORTS"},
		{[]string{"SHOAL_CACHE_DISK=1GiB", "SHOAL_TOKEN=x", "SHOAL_EDGE=x", "SHOAL_CONFIG=x", "PATH=/bin", "SHOALS=2"}, ""},
		// Without a Service, they are what somebody takes for settings.
		{[]string{"SHOAL_PORT=80", "SHOAL_SERVICE_HOST=x", "SHOAL_EGDE=http://other"}, "SHOAL_EGDE SHOAL_PORT SHOAL_SERVICE_HOST"},
	} {
		if got := strings.Join(config.UnknownVariables(tc.environ), " "); got != tc.want {
			t.Errorf("%q: unknown %q, expected %q", tc.environ, got, tc.want)
		}
	}
}

// A Secret in Kubernetes need not have the key for it, and it may come later.
func TestPinTokensThatAreNotThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin-tokens")
	environ := []string{"SHOAL_PIN_TOKEN_FILE=" + file}
	loaded := load(t, "", environ, nil)
	if len(loaded.Pin.Tokens) != 0 || len(loaded.Warnings) != 1 || !strings.Contains(loaded.Warnings[0], file) {
		t.Errorf("tokens %v, warnings %q", loaded.Pin.Tokens, loaded.Warnings)
	}
	if err := os.WriteFile(file, []byte("me:a-token-of-some-length\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if loaded := load(t, "", environ, nil); len(loaded.Pin.Tokens) != 1 || len(loaded.Warnings) != 0 {
		t.Errorf("tokens %v, warnings %q", loaded.Pin.Tokens, loaded.Warnings)
	}
}

func TestErrorsNameKeyValueAndExpectation(t *testing.T) {
	for _, tc := range []struct {
		name, file   string
		environ, set []string
		want         string
	}{
		{"unknown key", "gateway:\n  lisen: x\n", nil, nil, "2: gateway.lisen: unknown setting; expected one of listen,"},
		{"unknown section", "gatewya: {}\n", nil, nil, "1: gatewya: unknown setting"},
		{"unknown key in a list", "sites:\n  - host: a.example\n    conten: x\n", nil, nil, "3: sites[0].conten: unknown setting; expected one of host, content"},
		{"bad size", "cache:\n\n  disk: 10 potatoes\n", nil, nil, `3: cache.disk: "10 potatoes" is not a size; expected`},
		{"negative size", "cache: {disk: -1}\n", nil, nil, `cache.disk: "-1" is not a size`},
		{"huge size", "cache: {disk: 99999999TiB}\n", nil, nil, `is not a size`},
		{"negative number", "gateway: {max_requests: -3}\n", nil, nil, `gateway.max_requests: "-3" is not a whole number`},
		{"fraction", "gateway: {max_requests: 1.5}\n", nil, nil, `gateway.max_requests: "1.5" is not a whole number`},
		{"duration without unit", "gateway: {retrieval_timeout: 30}\n", nil, nil, `gateway.retrieval_timeout: "30" is not a duration; expected`},
		{"negative duration", "gateway: {retrieval_timeout: -30s}\n", nil, nil, `"-30s" is not a duration`},
		{"endless shutdown", "gateway: {shutdown_delay: 2h}\n", nil, nil, "gateway.shutdown_delay: 2h0m0s: expected a duration from 0s to 1h"},
		{"text for a list", "origins: nowhere\n", nil, nil, `origins: "nowhere" is not a list`},
		{"text for a group", "cache: 10GiB\n", nil, nil, `cache: "10GiB" is not settings (memory, disk)`},
		{"text for a switch", "gateway: {hosts: [{host: a.example, subdomains: maybe}]}\n", nil, nil, `gateway.hosts[0].subdomains: "maybe" is not true or false`},
		{"an empty entry", "sites:\n  -\n", nil, nil, "sites[0]: the entry is empty"},
		{"broken YAML", "gateway: {listen: [\n", nil, nil, "config.yaml:"},
		{"key twice", "name: a\nname: b\n", nil, nil, "2:"},
		{"two documents", "name: a\n---\nname: b\n", nil, nil, "more than one YAML document"},
		{"a list at the top", "- name: a\n", nil, nil, "is not settings"},
		{"number for a secret", "admin: {token: 0123}\n", nil, nil, "admin.token: the secret looks like a number"},
		{"secret twice", "admin: {token: abc, token_file: /dev/null}\n", nil, nil, "admin.token and admin.token_file are both set"},
		{"secret file missing", "admin: {token_file: /nowhere/token}\n", nil, nil, "admin.token_file: read the secret: open /nowhere/token"},
		{"secret file empty", "admin: {token_file: /dev/null}\n", nil, nil, "admin.token_file: /dev/null is empty"},
		{"environment", "", []string{"SHOAL_CACHE_DISK=lots"}, nil, `SHOAL_CACHE_DISK: cache.disk: "lots" is not a size`},
		{"flag without value", "", nil, []string{"cache.disk"}, "--set cache.disk: expected key=value"},
		{"flag, unknown", "", nil, []string{"cache.dsk=1"}, "--set cache.dsk: unknown setting; expected one of memory, disk"},
		{"flag, below a value", "", nil, []string{"cache.disk.x=1"}, "--set cache.disk.x: unknown setting"},
		{"flag, broken list", "", nil, []string{"sites=[{host: a"}, "--set sites: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			loaded, err := config.Load(write(t, tc.file), tc.environ, tc.set)
			if err == nil {
				t.Fatalf("accepted: %+v", loaded.Config)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %s\nwant ...%s...", err, tc.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := config.Load("/nowhere/config.yaml", nil, nil); err == nil || !strings.Contains(err.Error(), "/nowhere/config.yaml") {
		t.Fatalf("got %v", err)
	}
}

func TestSecretsNeverPrint(t *testing.T) {
	const token = "correct-horse-battery"
	loaded := load(t, "admin: {token: "+token+"}\norigins: [{type: gateway, url: 'http://192.0.2.1', token: "+token+"}]\n", nil, nil)
	out, err := yaml.Marshal(loaded.Config)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", loaded.Config, "token", loaded.Admin.Token)
	for _, text := range []string{
		string(out), log.String(), fmt.Sprint(loaded.Config), fmt.Sprintf("%+v %#v %q", loaded.Config, loaded.Config, loaded.Admin.Token),
	} {
		if strings.Contains(text, token) {
			t.Errorf("the secret shows in %s", text)
		}
	}
	if loaded.Admin.Token.Reveal() != token {
		t.Error("the secret was lost")
	}
}

func TestSizesAndDurationsReadBack(t *testing.T) {
	for _, s := range []config.Size{0, 1, 1023, 1024, 1 << 20, 5 << 30, 1<<40 + 1} {
		var back config.Size
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%d prints as %s and reads as %d, %v", s, s, back, err)
		}
	}
	for _, text := range []string{"0s", "30s", "1m", "1h", "1m30s", "1h30m", "500ms"} {
		var d config.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != text {
			t.Errorf("%s reads as %s, %v", text, d, err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("cache: {disk: 1GiB}\nsites: [{host: a.example, content: dnslink}]\n")
	f.Add("a: &x [1]\nb: *x\n")
	f.Add(":[1:")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(file, nil, nil); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("not one line: %q", err)
		}
	})
}
