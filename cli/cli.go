package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// An Environment is what the command line takes from the process.
type Environment struct {
	Out, Err io.Writer
	// Environ holds "NAME=value" entries, as os.Environ returns them.
	Environ []string
	// Terminal reports whether Err is one that progress may be drawn on, and
	// Width how many columns it has.
	Terminal bool
	Width    int
}

// System returns the environment of this process.
func System() Environment {
	env := Environment{Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
	fd := int(os.Stderr.Fd())
	if width, _, err := term.GetSize(fd); err == nil && term.IsTerminal(fd) {
		env.Terminal, env.Width = true, width
	}
	return env
}

// A usageError is a mistake in how the program was called or configured: exit 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// Run runs the command that args name (without the program's own name) until it
// is done or ctx ends, and returns the exit code.
func Run(ctx context.Context, args []string, env Environment) int {
	root := Root(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	printf(env.Err, "shoal: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// Root returns the command `shoal`, with all commands below it.
func Root(env Environment) *cobra.Command {
	root := &cobra.Command{
		Use:           "shoal",
		Short:         "A content-addressed CDN edge server",
		Long:          "Shoal serves websites and files by CID out of a byte-bounded cache,\nand fetches what it lacks, verified, from its origins.",
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without a command the help is what one wants to see; an unknown
		// command is a mistake.
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.AddCommand(
		newServe(env),
		newDemo(env),
		newAdd(env),
		newPin(env),
		newPurge(env),
		newReload(env),
		newSwarm(env),
		newHealth(env),
		newConfig(env),
		newVersion(env),
	)
	asUsage(root)
	return root
}

// asUsage makes every error that cobra finds in the flags and arguments of cmd
// and of the commands below it a usageError.
func asUsage(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
	})
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w (see %s --help)", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		asUsage(sub)
	}
}
