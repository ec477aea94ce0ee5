package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/opstrace/opstrace-agent/scrapeconfig/similar"
)

var (
	unknownFlag    = regexp.MustCompile(`^unknown long flag '--(.+)'$`)
	unexpectedWord = regexp.MustCompile(`^(?:unexpected|unexpected argument|expected command but got) ['"]?([^'"]+)['"]?$`)
)

// explainUsage makes a *usageError of what kingpin says of the arguments, with the
// command or flag that was likely meant.
func (c *cli) explainUsage(args []string, err error) error {
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return err
	}
	command := "" // which was understood; empty for the default one, which nobody names
	var cmd *kingpin.CmdClause
	if parsed, _ := c.app.ParseContext(args); parsed != nil && parsed.SelectedCommand != nil {
		cmd = parsed.SelectedCommand
		if name := cmd.FullCommand(); slices.Contains(args, strings.Fields(name)[0]) {
			command = " " + name
		}
	}
	if m := unknownFlag.FindStringSubmatch(err.Error()); m != nil {
		if flag := similar.Word(m[1], flagsOf(cmd, c.app)); flag != "" {
			return &usageError{err.Error(), fmt.Sprintf("did you mean --%s?", flag)}
		}
		for _, name := range c.commandsWith(m[1]) {
			return &usageError{err.Error(), fmt.Sprintf("that is a flag of '%s %s'", appName, name)}
		}
	}
	if m := unexpectedWord.FindStringSubmatch(err.Error()); m != nil {
		if word := similar.Word(m[1], c.wordsBeside(cmd)); word != "" {
			return &usageError{err.Error(), fmt.Sprintf("did you mean '%s'?", word)}
		}
	}
	return &usageError{err.Error(), fmt.Sprintf("'%s%s --help' lists the commands and flags", appName, command)}
}

// flagsOf returns the names of a command's flags; of the default command, if none
// was understood.
func flagsOf(cmd *kingpin.CmdClause, app *kingpin.Application) (names []string) {
	if cmd == nil {
		cmd = app.GetCommand("run")
	}
	for _, f := range cmd.Model().Flags {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	return names
}

// commandsWith returns the commands that have a flag of that name.
func (c *cli) commandsWith(flag string) (names []string) {
	for _, cmd := range c.app.Model().FlattenedCommands() {
		if slices.ContainsFunc(cmd.Flags, func(f *kingpin.FlagModel) bool { return f.Name == flag && !f.Hidden }) {
			names = append(names, cmd.FullCommand)
		}
	}
	return names
}

// wordsBeside returns the commands that could stand where cmd was understood, or
// below it.
func (c *cli) wordsBeside(cmd *kingpin.CmdClause) (names []string) {
	commands := c.app.Model().Commands
	if cmd != nil && len(cmd.Model().Commands) > 0 {
		commands = cmd.Model().Commands
	}
	for _, m := range commands {
		names = append(names, m.Name)
	}
	return names
}
