package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/shoal-cdn/shoal/config"
)

// defaultConfig is read when no other file is named, if it is there.
const defaultConfig = "config.yaml"

// configFlags are the flags of every command that reads a configuration.
type configFlags struct {
	file string
	set  []string
}

func (f *configFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "the configuration `FILE` (default: $SHOAL_CONFIG, else config.yaml here if there is one)")
	cmd.Flags().StringArrayVar(&f.set, "set", nil, "set one setting, as `key=value`; may be repeated")
}

// load returns the effective configuration; its errors are usageErrors.
func (f *configFlags) load(env Environment) (*config.Loaded, error) {
	file := cmp.Or(f.file, variable(env, "SHOAL_CONFIG"))
	if file == "" {
		if _, err := os.Stat(defaultConfig); !errors.Is(err, os.ErrNotExist) {
			file = defaultConfig
		}
	}
	loaded, err := config.Load(file, env.Environ, f.set)
	if err != nil {
		return nil, usageError{err}
	}
	return loaded, nil
}

// variable returns the value of an environment variable, or "".
func variable(env Environment, name string) string {
	for _, entry := range env.Environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func newConfig(env Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or print the settings",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(env), newConfigPrint(env))
	return cmd
}

func newConfigCheck(env Environment) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the settings; exit 2 and one line if something is wrong",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := flags.load(env)
			if err != nil {
				return err
			}
			for _, warning := range loaded.Warnings {
				printf(env.Err, "shoal: warning: %s\n", warning)
			}
			from := loaded.File
			if from == "" {
				from = "the defaults"
			}
			_, err = printf(env.Out, "%s: valid\n", from)
			return err
		},
	}
	flags.register(cmd)
	return cmd
}

func newConfigPrint(env Environment) *cobra.Command {
	var flags configFlags
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the effective settings, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := flags.load(env)
			if err != nil {
				return err
			}
			text, err := yaml.Dump(loaded.Masked(), yaml.WithCompactSeqIndent(false))
			if err != nil {
				return fmt.Errorf("print the settings: %w", err)
			}
			_, err = env.Out.Write(text)
			return err
		},
	}
	flags.register(cmd)
	return cmd
}
