package config

import "time"

// Default returns the settings of an edge that nothing was configured for. It
// serves what is added to it, on this machine's port 8080.
func Default() Config {
	return Config{
		Data: "./data",
		Gateway: Gateway{
			Listen:           ":8080",
			Serve:            "sites",
			Hosts:            []Host{{Host: "localhost", Subdomains: true}},
			MaxRequests:      4096,
			RetrievalTimeout: Duration(30 * time.Second),
			DrainTimeout:     Duration(30 * time.Second),
		},
		Cache: Cache{Memory: 256 << 20, Disk: 10 << 30},
		Admin: Admin{Listen: "127.0.0.1:8081"},
		Log:   Log{Level: "info", Format: "text"},
	}
}

func (c *Config) Validate() error { return nil }
