package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// nginxConfig is nginx as fast as it gets with files: sendfile, open files kept, no
// access log.
const nginxConfig = `daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log stderr warn;
%[4]s
events { worker_connections 1024; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=1000;
  default_type application/octet-stream;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
    location / {
      root %[3]s;
      add_header Cache-Control "public, max-age=29030400, immutable";
    }
  }
}
`

// startNginx serves the files with nginx.
func (b *bench) startNginx(ctx context.Context, files string) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "nginx")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // its workers must get into a folder of ours
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, addr, files, user), 0o644); err != nil {
		return nil, err
	}
	return begin(ctx, "nginx", addr, filepath.Join(dir, "nginx.log"), exec.CommandContext(ctx, b.nginx, "-e", "stderr", "-p", dir, "-c", config))
}
