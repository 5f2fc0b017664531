package cli

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/config"
)

// clientFlags are the flags of every command that talks to a running edge.
type clientFlags struct {
	edge, token string
	json        bool
}

func (f *clientFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.edge, "edge", "", "the `URL` of the edge's admin API (default: $SHOAL_EDGE, else "+client.DefaultEdge+")")
	cmd.Flags().StringVar(&f.token, "token", "", "the admin `TOKEN` (default: $SHOAL_TOKEN, which other users of this machine cannot read)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object per line")
}

// connect returns a client for the edge that the flags or the environment name.
func (f *clientFlags) connect(env Environment) (*client.Client, error) {
	// A misspelt SHOAL_EDGE would have another edge do what is asked for.
	for _, name := range config.UnknownVariables(env.Environ) {
		printf(env.Err, "shoal: warning: the environment variable %s names no setting\n", name)
	}
	c, err := client.New(
		cmp.Or(f.edge, variable(env, "SHOAL_EDGE"), client.DefaultEdge),
		cmp.Or(f.token, variable(env, "SHOAL_TOKEN")),
	)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}
