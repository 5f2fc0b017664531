package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/shoal-cdn/shoal/swarm/members"
)

// Config holds every setting of one edge. config.yaml at the top of the
// repository documents each of them; a test holds the two together. A setting that a
// running edge takes over on a reload has the tag reload:"live"; every other needs a
// restart. A Config is not changed once it is in use.
type Config struct {
	Name    string   `yaml:"name"`
	Data    string   `yaml:"data"`
	Gateway Gateway  `yaml:"gateway"`
	Sites   []Site   `yaml:"sites" reload:"live"`
	Cache   Cache    `yaml:"cache"`
	Swarm   Swarm    `yaml:"swarm"`
	Origins []Origin `yaml:"origins" reload:"live"`
	Names   Names    `yaml:"names"`
	Pin     Pin      `yaml:"pin"`
	Admin   Admin    `yaml:"admin"`
	Log     Log      `yaml:"log"`
}

// Gateway is the public door.
type Gateway struct {
	Listen           string   `yaml:"listen"`
	Serve            string   `yaml:"serve" reload:"live"`
	Hosts            []Host   `yaml:"hosts" reload:"live"`
	TrustedProxies   []string `yaml:"trusted_proxies" reload:"live"`
	Connect          bool     `yaml:"connect" reload:"live"`
	MaxRequests      int      `yaml:"max_requests" reload:"live"`
	RetrievalTimeout Duration `yaml:"retrieval_timeout" reload:"live"`
	Compression      bool     `yaml:"compression"`
	ShutdownDelay    Duration `yaml:"shutdown_delay" reload:"live"`
	DrainTimeout     Duration `yaml:"drain_timeout" reload:"live"`
}

// Host is a name under which content is asked for by CID.
type Host struct {
	Host       string `yaml:"host"`
	Subdomains bool   `yaml:"subdomains"`
}

// Site is a website that this edge fronts under a name of its own.
type Site struct {
	Host    string `yaml:"host"`
	Content string `yaml:"content"`
}

// Cache bounds what the edge keeps.
type Cache struct {
	Memory Size `yaml:"memory" reload:"live"`
	Disk   Size `yaml:"disk"`
}

// Swarm is what makes this edge one of a fleet.
type Swarm struct {
	Listen     []string `yaml:"listen"`
	Announce   []string `yaml:"announce"`
	Secret     Secret   `yaml:"secret"`
	SecretFile string   `yaml:"secret_file"`
	Peers      []string `yaml:"peers"`
	DNS        string   `yaml:"dns"`
	Zone       string   `yaml:"zone"`
	Allow      []string `yaml:"allow"`
}

// Origin is a place to ask for what the edge does not have.
type Origin struct {
	Type      string `yaml:"type"`
	URL       string `yaml:"url"`
	Path      string `yaml:"path"`
	Addr      string `yaml:"addr"`
	Token     Secret `yaml:"token"`
	TokenFile string `yaml:"token_file"`
}

// Names says who is asked what a name points to.
type Names struct {
	Resolvers   []string `yaml:"resolvers"`
	IPNSGateway string   `yaml:"ipns_gateway"`
}

// Pin is what the fleet keeps for good.
type Pin struct {
	Tokens    []Secret `yaml:"tokens" reload:"live"`
	TokenFile string   `yaml:"token_file" reload:"live"`
	Replicas  int      `yaml:"replicas"`
	Sites     bool     `yaml:"sites" reload:"live"`
	Grace     Duration `yaml:"grace"`
	GiveUp    Duration `yaml:"give_up"`
}

// Admin is the admin API.
type Admin struct {
	Listen    string `yaml:"listen"`
	Token     Secret `yaml:"token" reload:"live"`
	TokenFile string `yaml:"token_file" reload:"live"`
}

// Log says what is logged, and how.
type Log struct {
	Level  string `yaml:"level" reload:"live"`
	Format string `yaml:"format"`
}

// A secretFile ties a secret to the setting that names its file.
type secretFile struct {
	key    string
	secret *Secret
	file   *string
}

// secretFiles lists every secret of the configuration.
func (c *Config) secretFiles() []secretFile {
	list := []secretFile{
		{"admin.token", &c.Admin.Token, &c.Admin.TokenFile},
		{"swarm.secret", &c.Swarm.Secret, &c.Swarm.SecretFile},
	}
	for i := range c.Origins {
		o := &c.Origins[i]
		list = append(list, secretFile{fmt.Sprintf("origins[%d].token", i), &o.Token, &o.TokenFile})
	}
	return list
}

// EdgeName returns the name of this edge: the configured one or the host's, with
// hyphens for what a name may not contain.
func (c *Config) EdgeName() string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "edge"
	}
	return strings.Map(func(r rune) rune {
		if members.CheckName(string(r)) != nil {
			return '-'
		}
		return r
	}, host)
}
