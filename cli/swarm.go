package cli

import (
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/edge"
	"github.com/shoal-cdn/shoal/member"
)

func newSwarm(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "swarm",
		Short: "Make a fleet's secret; see who is in the fleet and where content is",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newSwarmSecret(env), newSwarmMembers(env), newSwarmWhere(env))
	return cmd
}

func newSwarmSecret(env Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "secret",
		Short: "Print a new secret for a fleet: swarm.secret, the same on every edge",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := printf(env.Out, "%s\n", edge.NewSecret())
			return err
		},
	}
}

func newSwarmMembers(env Environment) *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "members",
		Short: "List the edges of the fleet, as a running edge sees them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := flags.connect(env)
			if err != nil {
				return err
			}
			defer client.Close()
			result, err := client.Members(cmd.Context())
			if err != nil {
				return err
			}
			if flags.json {
				return printLines(env, result.Members)
			}
			return printMembers(env, result.Members)
		},
	}
	flags.register(cmd)
	return cmd
}

func printMembers(env Environment, list []member.Member) error {
	w := tabwriter.NewWriter(env.Out, 0, 0, 2, ' ', 0)
	printf(w, "NAME\tSTATE\tSINCE\tLATENCY\tDISK\tZONE\tADDRESS\tPEER ID\n")
	for _, m := range list {
		name, latency := m.Name, "-"
		if m.Self {
			name += " (this edge)"
		} else if m.Latency > 0 {
			latency = time.Duration(m.Latency * float64(time.Second)).Round(10 * time.Microsecond).String()
		}
		state := string(m.State)
		if m.Detail != "" {
			state += ": " + m.Detail
		}
		since := "-"
		if !m.Since.IsZero() {
			since = humanize.Time(m.Since)
		}
		printf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state, since, latency,
			humanize.IBytes(m.Weight), orDash(m.Zone), orDash(m.Addr), m.Peer)
	}
	return w.Flush()
}

func newSwarmWhere(env Environment) *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "where CID",
		Short: "Tell which edges a block is at home on, and which hold it now",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.connect(env)
			if err != nil {
				return err
			}
			defer client.Close()
			found, err := client.Where(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if flags.json {
				return printLines(env, []member.Whereabouts{found})
			}
			_, err = printf(env.Out, "homes      %s\nheld by    %s\nnot asked  %s\n",
				orDash(strings.Join(found.Homes, ", ")), orDash(strings.Join(found.Holders, ", ")), orDash(strings.Join(found.Silent, ", ")))
			return err
		},
	}
	flags.register(cmd)
	return cmd
}

// printLines prints one JSON object per line.
func printLines[T any](env Environment, list []T) error {
	out := encoder(env.Out)
	for _, item := range list {
		if err := out.Encode(item); err != nil {
			return err
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
