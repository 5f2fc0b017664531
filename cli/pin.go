package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/ipfs/go-cid"
	"github.com/spf13/cobra"

	"github.com/shoal-cdn/shoal/admin"
	"github.com/shoal-cdn/shoal/admin/client"
	"github.com/shoal-cdn/shoal/pin/record"
)

func newPin(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin",
		Short: "Have the fleet keep content by CID; see what it keeps",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newPinAdd(env), newPinLs(env), newPinStatus(env), newPinRm(env))
	return cmd
}

// onEdge runs f with a client of the edge that the flags name.
func (f *clientFlags) onEdge(env Environment, do func(*client.Client) error) error {
	edge, err := f.connect(env)
	if err != nil {
		return err
	}
	defer edge.Close()
	return do(edge)
}

func newPinAdd(env Environment) *cobra.Command {
	var flags clientFlags
	var params admin.PinParams
	var noWait bool
	cmd := &cobra.Command{
		Use:   "add CID|/ipfs/CID/path|/ipns/NAME/path",
		Short: "Pin content: fetch it whole and keep it on several edges",
		Long: `Pin what a CID or a path names. It is fetched whole, kept on as many edges as
there are to be replicas, and never evicted until it is unpinned. A path is
resolved once: the pin is of the CID that it leads to now.

The command returns when the content is pinned, and fails if that fails. If it is
interrupted, the fleet goes on; see shoal pin status.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if params.Replicas < 0 || params.Replicas > 100 {
				return usageError{fmt.Errorf("--replicas %d: expected 1 to 100", params.Replicas)}
			}
			return flags.onEdge(env, func(edge *client.Client) error {
				return addPin(cmd.Context(), env, edge, args[0], params, noWait, flags.json)
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&params.Name, "name", "", "a `NAME` for people")
	cmd.Flags().IntVar(&params.Replicas, "replicas", 0, "on how many edges to keep it (default: the edge's pin.replicas)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return as soon as the fleet has been told")
	return cmd
}

func addPin(ctx context.Context, env Environment, edge *client.Client, target string, params admin.PinParams, noWait, asJSON bool) error {
	bar := newProgress(env, 0, asJSON || noWait)
	bar.describe("pinning")
	var progress func(admin.Pin)
	if !noWait {
		progress = func(p admin.Pin) {
			if asJSON {
				_ = encoder(env.Out).Encode(p)
			}
			blocks, bytes, holders := pinFigures(p)
			bar.at(fmt.Sprintf("%s, on %d of %d edges, %s blocks", p.Status, holders, p.Replicas, humanize.Comma(blocks)), bytes)
		}
	}
	pin, err := edge.AddPin(ctx, target, params, progress)
	bar.finish()
	if err != nil {
		return err
	}
	if asJSON && noWait {
		err = encoder(env.Out).Encode(pin)
	} else if !asJSON {
		_, err = printf(env.Out, "id      %s\ncid     %s\nstatus  %s\n", pin.ID, pin.CID, pinSummary(pin))
	}
	if err == nil && pin.Status == record.Failed {
		err = fmt.Errorf("pin %s failed: %s", pin.ID, pin.Info["reason"])
	}
	return err
}

// pinFigures returns how far the edge is that has most, and how many hold it whole.
func pinFigures(p admin.Pin) (blocks, bytes int64, holders int) {
	for _, e := range p.Edges {
		if e.Blocks > blocks {
			blocks, bytes = e.Blocks, e.Bytes
		}
		if e.Present && e.Status == record.Pinned {
			holders++
		}
	}
	return blocks, bytes, holders
}

func pinSummary(p admin.Pin) string {
	text := string(p.Status)
	if r := p.Info["replicas"]; r != "" {
		text += ", " + r + " replicas"
	}
	if e := p.Info["edges"]; e != "" {
		text += " on " + e
	}
	if p.Status != record.Pinned && p.Info["reason"] != "" {
		text += " (" + p.Info["reason"] + ")"
	}
	return text
}

type pinFilters struct {
	clientFlags
	cids, statuses []string
	name, match    string
	before, after  string
	limit          int
}

func newPinLs(env Environment) *cobra.Command {
	var flags pinFilters
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the fleet's pins, the newest first",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return flags.run(cmd.Context(), env) },
	}
	flags.register(cmd)
	cmd.Flags().StringSliceVar(&flags.cids, "cid", nil, "only these `CID`s")
	cmd.Flags().StringSliceVar(&flags.statuses, "status", nil, "only these: queued, pinning, pinned, failed")
	cmd.Flags().StringVar(&flags.name, "name", "", "only those of this `NAME`")
	cmd.Flags().StringVar(&flags.match, "match", "", "how the name is compared: exact (default), iexact, partial, ipartial")
	cmd.Flags().StringVar(&flags.before, "before", "", "only those made before this `TIME` (2006-01-02T15:04:05Z)")
	cmd.Flags().StringVar(&flags.after, "after", "", "only those made after this `TIME`")
	cmd.Flags().IntVar(&flags.limit, "limit", 0, "at most so many (default: all)")
	return cmd
}

func (f *pinFilters) query() (q record.Query, err error) {
	q = record.Query{Name: f.name, Match: record.Match(f.match), Limit: f.limit}
	for _, s := range f.statuses {
		q.Statuses = append(q.Statuses, record.Status(s))
	}
	for _, text := range f.cids {
		c, err := cid.Decode(text)
		if err != nil {
			return q, fmt.Errorf("--cid %s: expected a CID: %w", text, err)
		}
		q.CIDs = append(q.CIDs, c)
	}
	for _, t := range []struct {
		flag, text string
		to         *time.Time
	}{{"before", f.before, &q.Before}, {"after", f.after, &q.After}} {
		if t.text == "" {
			continue
		}
		if *t.to, err = time.Parse(time.RFC3339, t.text); err != nil {
			return q, fmt.Errorf("--%s %s: expected a time such as 2006-01-02T15:04:05Z", t.flag, t.text)
		}
	}
	return q, nil
}

func (f *pinFilters) run(ctx context.Context, env Environment) error {
	query, err := f.query()
	if err != nil {
		return usageError{err}
	}
	return f.onEdge(env, func(edge *client.Client) error {
		w := tabwriter.NewWriter(env.Out, 0, 0, 2, ' ', 0)
		out := encoder(env.Out)
		shown := 0
		count, err := edge.Pins(ctx, query, func(p admin.Pin) {
			if shown++; f.json {
				_ = out.Encode(p)
				return
			}
			if shown == 1 {
				printf(w, "ID\tSTATUS\tREPLICAS\tCREATED\tCID\tNAME\n")
			}
			printf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.Status, orDash(p.Info["replicas"]), p.Created.Format(time.RFC3339), p.CID, orDash(p.Name))
		})
		if err != nil || f.json {
			return err
		}
		if shown < count {
			printf(w, "(%s of %s)\n", humanize.Comma(int64(shown)), humanize.Comma(int64(count)))
		}
		return w.Flush()
	})
}

func newPinStatus(env Environment) *cobra.Command {
	var flags clientFlags
	var verify bool
	cmd := &cobra.Command{
		Use:   "status ID|CID",
		Short: "Tell what each edge holds of a pin, or of all pins of a CID",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.onEdge(env, func(edge *client.Client) error {
				if verify {
					if err := verifyPin(cmd.Context(), env, edge, args[0], flags.json); err != nil {
						return err
					}
				}
				pins, err := edge.PinStatus(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if flags.json {
					return printLines(env, pins)
				}
				for _, p := range pins {
					if err := printPin(env, p); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&verify, "verify", false, "first have every edge that holds it read and check each block, and repair what is damaged")
	return cmd
}

func printPin(env Environment, p admin.Pin) error {
	w := tabwriter.NewWriter(env.Out, 0, 0, 2, ' ', 0)
	printf(w, "id\t%s\ncid\t%s\nname\t%s\ncreated\t%s\nstatus\t%s\n", p.ID, p.CID, orDash(p.Name), p.Created.Format(time.RFC3339), pinSummary(p))
	if err := w.Flush(); err != nil {
		return err
	}
	w = tabwriter.NewWriter(env.Out, 0, 0, 2, ' ', 0)
	printf(w, "  EDGE\tSTATUS\tBLOCKS\tBYTES\tCHECKED\tNOTE\n")
	for _, e := range p.Edges {
		var notes []string
		if !e.Assigned {
			notes = append(notes, "not assigned")
		}
		if !e.Present {
			notes = append(notes, "not there")
		}
		if e.Reason != "" {
			notes = append(notes, e.Reason)
		}
		checked := "-"
		if !e.Verified.IsZero() {
			checked = humanize.Time(e.Verified)
		}
		printf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", e.Edge, e.Status, humanize.Comma(e.Blocks), humanize.IBytes(uint64(e.Bytes)), checked, orDash(strings.Join(notes, "; ")))
	}
	return w.Flush()
}

// verifyPin prints what the edges found. A pin that is not whole somewhere is a failure.
func verifyPin(ctx context.Context, env Environment, edge *client.Client, idOrCID string, asJSON bool) error {
	bar := newProgress(env, 0, asJSON)
	bar.describe("checking")
	done := map[string]record.EdgeProgress{}
	found, err := edge.VerifyPin(ctx, idOrCID, func(p record.EdgeProgress) {
		done[p.Edge] = p
		var blocks, bytes int64
		for _, d := range done {
			blocks, bytes = blocks+d.Blocks, bytes+d.Bytes
		}
		bar.at(fmt.Sprintf("%s blocks on %d edges", humanize.Comma(blocks), len(done)), bytes)
	})
	bar.finish()
	if err != nil {
		return err
	}
	var failed []string
	for _, f := range found {
		switch {
		case f.Error != "":
			failed = append(failed, f.Edge+" ("+f.Error+")")
		case f.Missing > 0:
			failed = append(failed, fmt.Sprintf("%s (%s blocks are missing, and nobody has them)", f.Edge, humanize.Comma(f.Missing)))
		case !asJSON:
			printf(env.Out, "%s: %s blocks, %s checked, %s repaired\n", f.Edge, humanize.Comma(f.Blocks), humanize.IBytes(uint64(f.Bytes)), humanize.Comma(f.Repaired))
		}
	}
	if asJSON {
		if err := printLines(env, []admin.PinLine{{Verified: found}}); err != nil {
			return err
		}
	}
	switch {
	case len(failed) > 0:
		return fmt.Errorf("the check failed on %s", strings.Join(failed, ", "))
	case len(found) == 0:
		return errors.New("no edge holds it whole, so there is nothing to check")
	}
	return nil
}

func newPinRm(env Environment) *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "rm ID|CID",
		Short: "Unpin: a pin, or all pins of a CID",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.onEdge(env, func(edge *client.Client) error {
				removed, err := edge.RemovePin(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				if flags.json {
					return printLines(env, removed)
				}
				for _, p := range removed {
					if _, err := printf(env.Out, "unpinned %s  %s  %s\n", p.ID, p.CID, orDash(p.Name)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	flags.register(cmd)
	return cmd
}
