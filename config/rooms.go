package config

import (
	"path/filepath"
	"time"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/cache"
	"github.com/shoal-cdn/shoal/gateway"
	"github.com/shoal-cdn/shoal/names"
	"github.com/shoal-cdn/shoal/origin"
	"github.com/shoal-cdn/shoal/pin"
	"github.com/shoal-cdn/shoal/pin/release"
	"github.com/shoal-cdn/shoal/pin/service"
	"github.com/shoal-cdn/shoal/swarm"
	"github.com/shoal-cdn/shoal/swarm/placement"
)

// Default returns the settings of an edge that nothing was configured for: the
// defaults of its components. It serves what is added to it.
func Default() Config {
	public, store, memory, operator := gateway.DefaultOptions(), blockstore.DefaultOptions(), cache.DefaultOptions(), admin.DefaultOptions()
	pins := pin.DefaultOptions()
	c := Config{
		Data: "./data",
		Gateway: Gateway{
			Listen:           ":8080",
			Serve:            string(public.Serve),
			MaxRequests:      public.MaxRequests,
			RetrievalTimeout: Duration(public.RetrievalTimeout),
			Compression:      public.Compression,
			ShutdownDelay:    Duration(defaultShutdownDelay),
			DrainTimeout:     Duration(public.DrainTimeout),
		},
		Swarm: Swarm{Listen: swarm.DefaultOptions().Listen},
		Cache: Cache{Memory: Size(memory.Bytes), Disk: Size(store.Capacity)},
		Pin: Pin{
			Replicas: pins.Replicas, Sites: true, Grace: Duration(pins.Grace), GiveUp: Duration(pins.Hold.GiveUp),
		},
		Admin: Admin{Listen: operator.Listen},
		Log:   Log{Level: "info", Format: "text"},
	}
	for _, h := range public.Hosts {
		c.Gateway.Hosts = append(c.Gateway.Hosts, Host(h))
	}
	return c
}

// GatewayOptions returns what the public door is built from.
func (c *Config) GatewayOptions() gateway.Options {
	o := gateway.DefaultOptions()
	o.Serve = gateway.ServePolicy(c.Gateway.Serve)
	o.Hosts = nil
	for _, h := range c.Gateway.Hosts {
		o.Hosts = append(o.Hosts, gateway.Host(h))
	}
	for _, s := range c.Sites {
		o.Sites = append(o.Sites, gateway.Site(s))
	}
	o.TrustedProxies = c.Gateway.TrustedProxies
	o.Connect = c.Gateway.Connect
	o.MaxRequests = c.Gateway.MaxRequests
	o.RetrievalTimeout = time.Duration(c.Gateway.RetrievalTimeout)
	o.Compression = c.Gateway.Compression
	o.DrainTimeout = time.Duration(c.Gateway.DrainTimeout)
	// Half of the memory may be taken by finished answers; the block cache lends
	// what they use. The map of where large files lie is no content, and is kept
	// even when no content may be.
	o.HotBytes, o.HotBodies = int64(c.Cache.Memory)/2, true
	if o.HotBytes < leastHotBytes {
		o.HotBytes, o.HotBodies = leastHotBytes, c.Cache.Memory > 0
	}
	return o
}

// leastHotBytes is what is used to find the way to content that is asked for again,
// however small the cache.
const leastHotBytes = 8 << 20

// CacheOptions returns what the memory cache is built from.
func (c *Config) CacheOptions() cache.Options {
	o := cache.DefaultOptions()
	o.Bytes = int64(c.Cache.Memory)
	return o
}

// StoreOptions returns what the block store is built from.
func (c *Config) StoreOptions() blockstore.Options {
	o := blockstore.DefaultOptions()
	o.Dir = filepath.Join(c.Data, "blocks")
	o.Capacity = int64(c.Cache.Disk)
	return o
}

// OriginOptions returns what the origins are built from.
func (c *Config) OriginOptions() origin.Options {
	o := origin.DefaultOptions()
	for _, s := range c.Origins {
		o.Origins = append(o.Origins, origin.Spec{Type: s.Type, URL: s.URL, Path: s.Path, Addr: s.Addr, Token: s.Token.Reveal()})
	}
	return o
}

// SwarmOptions returns what this edge's part of the fleet is built from. An edge
// that has no siblings and no guests listens nowhere.
func (c *Config) SwarmOptions() swarm.Options {
	o := swarm.DefaultOptions()
	o.Name = c.EdgeName()
	o.Listen, o.Announce = c.Swarm.Listen, c.Swarm.Announce
	o.Secret = c.Swarm.Secret.Reveal()
	if o.Secret == "" {
		o.KeyFile = filepath.Join(c.Data, "swarm.key")
		if len(c.Swarm.Allow) == 0 {
			o.Listen, o.Announce = nil, nil
		}
	}
	o.Peers, o.DNS, o.Zone, o.Allow = c.Swarm.Peers, c.Swarm.DNS, c.Swarm.Zone, c.Swarm.Allow
	o.DiskBytes = int64(c.Cache.Disk)
	return o
}

// AdmissionOptions returns what decides which blocks that are at home on another
// edge are kept on this one's disk.
func (c *Config) AdmissionOptions() placement.AdmissionOptions {
	o := placement.DefaultAdmissionOptions()
	o.DiskBytes = int64(c.Cache.Disk)
	return o
}

// NamesOptions returns what the name resolver is built from.
func (c *Config) NamesOptions() names.Options {
	o := names.DefaultOptions()
	o.Resolvers = c.Names.Resolvers
	o.IPNSGateway = c.Names.IPNSGateway
	return o
}

// AdminOptions returns what the admin API is built from.
func (c *Config) AdminOptions() admin.Options {
	o := admin.DefaultOptions()
	o.Listen = c.Admin.Listen
	o.Token = c.Admin.Token.Reveal()
	return o
}

// PinOptions returns what the pins are built from.
func (c *Config) PinOptions() pin.Options {
	o := pin.DefaultOptions()
	o.Dir = filepath.Join(c.Data, "pins")
	o.Replicas = c.Pin.Replicas
	o.Grace = time.Duration(c.Pin.Grace)
	o.Hold.GiveUp = time.Duration(c.Pin.GiveUp)
	return o
}

// SitesToPin returns the sites whose releases are followed and pinned.
func (c *Config) SitesToPin() (list []release.Site) {
	if !c.Pin.Sites {
		return nil
	}
	for _, s := range c.Sites {
		content := s.Content
		if content == "dnslink" {
			content = "/ipns/" + s.Host
		}
		list = append(list, release.Site{Host: s.Host, Content: content})
	}
	return list
}

// PinServiceOptions returns what the pinning service is built from.
func (c *Config) PinServiceOptions() service.Options {
	o := service.DefaultOptions()
	for _, token := range c.Pin.Tokens {
		o.Tokens = append(o.Tokens, token.Reveal())
	}
	return o
}
