package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Root makes the command that the others hang under.
func Root(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	root := Group(use, short, commands...)
	root.Long = long
	root.SilenceUsage = true  // a screen of usage would hide the one line that says what is wrong
	root.SilenceErrors = true // Run prints them
	root.SetFlagErrorFunc(FlagError)
	root.SetHelpCommand(helpCommand())
	return root
}

// FlagError says what is wrong with a flag, and where to read about it.
func FlagError(c *cobra.Command, err error) error {
	text := err.Error()
	// After the flag come the insides of a parser of numbers, which help nobody.
	if said, _, ok := strings.Cut(text, ` flag: `); ok && strings.HasPrefix(text, "invalid argument ") {
		text = said
		name := strings.TrimSuffix(said[strings.LastIndex(said, "--")+len("--"):], `"`)
		if f := c.Flags().Lookup(name); f != nil {
			text = fmt.Sprintf("%s: use %s", said, kind(f.Value.Type()))
		}
	}
	return fmt.Errorf("%s: see %s --help", text, c.CommandPath())
}

// kind is a flag's type, for people.
func kind(of string) string {
	switch of {
	case "duration":
		return "a duration such as 30s, 5m or 1h"
	case "uint64":
		return "a whole number from 0"
	case "bool":
		return "true or false"
	}
	return "a " + of
}

// Group makes a command that does nothing but hold others.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return noCommand(c, args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return fmt.Errorf("say which command: see %s --help", c.CommandPath())
		},
	}
	group.AddCommand(commands...)
	return group
}

// noCommand says that a command has no such command below it, and which one may have been meant.
func noCommand(c *cobra.Command, name string) error {
	c.SuggestionsMinimumDistance = 2 // cobra's own, which it sets elsewhere only
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return fmt.Errorf("there is no command %q: did you mean %s %s?", name, c.CommandPath(), near[0])
	}
	return fmt.Errorf("there is no command %q: see %s --help", name, c.CommandPath())
}

// helpCommand is cobra's, but for an unknown command, which is a mistake like any other.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say what a command does, and how it is used",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return noCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// NoArguments refuses arguments.
func NoArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q is too much: the command takes no arguments", args[0])
	}
	return nil
}

// AtMostOne refuses a second argument.
func AtMostOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 1 {
			return fmt.Errorf("%q is too much: the command takes one %s", args[1], what)
		}
		return nil
	}
}
