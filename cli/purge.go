package cli

import (
	"encoding/json"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func newPurge(env Environment) *cobra.Command {
	var flags clientFlags
	var unpin bool
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
			result, err := edge.Purge(cmd.Context(), args[0], unpin)
			if err != nil {
				return err
			}
			if flags.json {
				return json.NewEncoder(env.Out).Encode(result)
			}
			kept := ""
			if result.Kept > 0 {
				kept = fmt.Sprintf("; %s stay because other pinned content shares them", humanize.Comma(result.Kept))
			}
			_, err = fmt.Fprintf(env.Out, "forgot %s: %s blocks, %s%s\n", result.CID, humanize.Comma(result.Removed), humanize.IBytes(uint64(result.Bytes)), kept)
			return err
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&unpin, "unpin", false, "also when it was added, and so is pinned")
	return cmd
}
