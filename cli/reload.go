package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/task"
)

func newReload(env Environment) *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a running edge read its settings again",
		Long: `Have a running edge read its settings again, from where it read them at its
start, and put in force what can be without a restart. Prints what changed, and
what needs a restart.

Settings that are wrong change nothing: exit 1 and one line that says why.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			edge, err := flags.connect(env)
			if err != nil {
				return err
			}
			defer edge.Close()
			result, err := edge.Reload(cmd.Context())
			if err != nil {
				return fmt.Errorf("nothing was changed: %w", err)
			}
			if flags.json {
				return encoder(env.Out).Encode(result)
			}
			return printReload(env, result)
		},
	}
	flags.register(cmd)
	return cmd
}

func printReload(env Environment, r task.Reloaded) error {
	var text strings.Builder
	for _, c := range r.Changed {
		printf(&text, "changed        %s\n", c.String())
	}
	for _, c := range r.NeedsRestart {
		printf(&text, "needs restart  %s\n", c.String())
	}
	if text.Len() == 0 {
		text.WriteString("nothing changed\n")
	}
	_, err := io.WriteString(env.Out, text.String())
	return err
}
