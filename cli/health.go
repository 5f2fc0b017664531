package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/config"
)

// healthWithin bounds a check. It is less than the five seconds that the image's
// HEALTHCHECK gives it, so that the reason is said before the check is killed.
const healthWithin = 4 * time.Second

func newHealth(env Environment) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Exit 0 when this machine's edge answers /healthz; for container health checks",
		Long: `Exit 0 when the edge on this machine answers /healthz, and 1 when it does not
within four seconds. No token is needed.

The edge is looked for where its settings have it listen (admin.listen), so give
this command the --config and --set that the edge was started with. Settings that
cannot be read are no verdict on an edge that runs: it is then looked for at the
default address.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listen := config.Default().Admin.Listen
			loaded, err := flags.load(env)
			if err == nil {
				listen = loaded.Admin.Listen
			} else {
				printf(env.Err, "shoal: warning: the edge is looked for at %s, because its settings cannot be read: %v\n", listen, err)
			}
			address, err := reachable(listen)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), healthWithin)
			defer cancel()
			return askHealth(ctx, address)
		},
	}
	flags.register(cmd)
	return cmd
}

// reachable returns where to connect to, on this machine, what listens there.
func reachable(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("admin.listen: %w", err)
	}
	if port == "0" {
		return "", fmt.Errorf("admin.listen: %s: the port is another one at each start; give it a number", listen)
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth asks for /healthz, past any proxy that the environment names.
func askHealth(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask the edge at %s: %w", address, err)
	}
	direct := &http.Transport{DisableKeepAlives: true}
	response, err := direct.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("the edge at %s does not answer: %w", address, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200))
		return fmt.Errorf("the edge at %s is not healthy: %s: %.200q", address, response.Status, text)
	}
	return nil
}
