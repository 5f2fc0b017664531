package cli

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/task"
)

func newPurge(env Environment) *cobra.Command {
	var flags clientFlags
	var unpin, fleet bool
	cmd := &cobra.Command{
		Use:   "purge CID|/ipfs/CID/path",
		Short: "Make a running edge forget content",
		Long: `Make a running edge forget what a CID or a path names, and everything below it,
in memory and on disk. Content that was added is pinned, and refused without
--unpin. Blocks that other pinned content shares stay.

What an origin still has is fetched again when somebody asks for it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			edge, err := flags.connect(env)
			if err != nil {
				return err
			}
			defer edge.Close()
			result, err := edge.Purge(cmd.Context(), args[0], unpin, fleet)
			if err != nil {
				return err
			}
			if flags.json {
				return encoder(env.Out).Encode(result)
			}
			return printPurge(env, args[0], result)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&unpin, "unpin", false, "also when it was added, and so is pinned")
	cmd.Flags().BoolVar(&fleet, "fleet", false, "on every edge of the fleet")
	return cmd
}

// printPurge prints what each edge forgot. An edge that could not be asked still has
// it, so that is a failure.
func printPurge(env Environment, path string, r task.PurgeResult) error {
	kept := ""
	if r.Kept > 0 {
		kept = fmt.Sprintf("; %s stay because other pinned content shares them", humanize.Comma(r.Kept))
	}
	if _, err := printf(env.Out, "forgot %s: %s blocks, %s%s\n", cmp.Or(r.CID, path), humanize.Comma(r.Removed), humanize.IBytes(uint64(r.Bytes)), kept); err != nil {
		return err
	}
	var failed []string
	for _, s := range r.Fleet {
		if s.Error != "" {
			failed = append(failed, s.Edge+" ("+s.Error+")")
			continue
		}
		printf(env.Out, "  %s: %s blocks, %s\n", s.Edge, humanize.Comma(s.Removed), humanize.IBytes(uint64(s.Bytes)))
	}
	if len(failed) > 0 {
		return fmt.Errorf("not forgotten on %s", strings.Join(failed, ", "))
	}
	return nil
}
