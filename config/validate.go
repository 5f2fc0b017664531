package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/shoal-cdn/shoal/blockstore"
	"github.com/shoal-cdn/shoal/swarm/members"
)

const (
	// defaultShutdownDelay is long enough for two health checks of a load balancer that
	// looks every two seconds, for kube-proxy to hear that a Pod is leaving, and for most
	// kept connections to be used once more and told that they end.
	defaultShutdownDelay = 5 * time.Second
	// maxShutdownDelay is longer than any load balancer needs to look again.
	maxShutdownDelay = time.Hour
)

// Validate reports the first setting that cannot work, naming its key, its value
// and what was expected. It looks at nothing outside of c.
func (c *Config) Validate() error {
	if c.Name != "" {
		if err := members.CheckName(c.Name); err != nil {
			return fmt.Errorf("name: %w", err)
		}
	}
	if c.Data == "" {
		return errors.New("data: expected the path of a folder")
	}
	if _, _, err := net.SplitHostPort(c.Gateway.Listen); err != nil {
		return fmt.Errorf("gateway.listen: %q: expected host:port, such as :8080", c.Gateway.Listen)
	}
	if d := time.Duration(c.Gateway.ShutdownDelay); d < 0 || d > maxShutdownDelay {
		return fmt.Errorf("gateway.shutdown_delay: %s: expected a duration from 0s to %s", d, maxShutdownDelay)
	}
	if c.Cache.Disk < blockstore.MinCapacity {
		return fmt.Errorf("cache.disk: %s: expected at least %s", c.Cache.Disk, Size(blockstore.MinCapacity))
	}
	if err := new(slog.Level).UnmarshalText([]byte(c.Log.Level)); err != nil {
		return fmt.Errorf("log.level: %q: expected debug, info, warn or error", c.Log.Level)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return fmt.Errorf("log.format: %q: expected text or json", c.Log.Format)
	}
	for _, options := range []interface{ Validate() error }{
		c.GatewayOptions(), c.CacheOptions(), c.StoreOptions(), c.OriginOptions(), c.NamesOptions(), c.AdminOptions(),
		c.SwarmOptions(), c.AdmissionOptions(), c.PinOptions(), c.PinServiceOptions(),
	} {
		if err := options.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// SlogLevel returns the level as the logger takes it; info if it is not valid.
func (l Log) SlogLevel() slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return slog.LevelInfo
	}
	return level
}
