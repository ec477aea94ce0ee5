package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/scrapeconfig/similar"
)

var (
	unknownFlag    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^unknown long flag '--(.+)'$`) })
	unexpectedWord = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?:unexpected|unexpected argument|expected command but got) ['"]?([^'"]+)['"]?$`)
	})
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
	if flag, value := wrongValue(args, flagModels(cmd, c.app), err); flag != nil {
		problem := ": " + err.Error()
		if number := (*strconv.NumError)(nil); errors.As(err, &number) {
			problem = " is not a number" // as it may be; strconv speaks to programmers
		}
		return &usageError{fmt.Sprintf("--%s=%s%s", flag.Name, value, problem), hintOfValue(flag, command)}
	}
	if m := unknownFlag().FindStringSubmatch(err.Error()); m != nil {
		if flag := similar.Word(m[1], flagsOf(cmd, c.app)); flag != "" {
			return &usageError{err.Error(), fmt.Sprintf("did you mean --%s?", flag)}
		}
		for _, name := range c.commandsWith(m[1]) {
			return &usageError{err.Error(), fmt.Sprintf("that is a flag of '%s %s'", appName, name)}
		}
	}
	if m := unexpectedWord().FindStringSubmatch(err.Error()); m != nil {
		if word := similar.Word(m[1], c.wordsBeside(cmd)); word != "" {
			return &usageError{err.Error(), fmt.Sprintf("did you mean '%s'?", word)}
		}
	}
	return &usageError{err.Error(), fmt.Sprintf("'%s%s --help' lists the commands and flags", appName, command)}
}

// unknownHelp returns a *usageError for help about a command that there is not: kingpin
// would end the process without a hint.
func (c *cli) unknownHelp(args []string) error {
	if len(args) == 0 || args[0] != "help" {
		return nil
	}
	known := append(c.wordsBeside(nil), "help")
	var cmd *kingpin.CmdClause
	for _, word := range args[1:] {
		if strings.HasPrefix(word, "-") {
			return nil
		}
		if !slices.Contains(known, word) {
			hint := fmt.Sprintf("'%s --help' lists the commands and flags", appName)
			if meant := similar.Word(word, known); meant != "" {
				hint = fmt.Sprintf("did you mean '%s'?", meant)
			}
			return &usageError{fmt.Sprintf("no help about %s: there is no such command", strings.Join(args[1:], " ")), hint}
		}
		if cmd == nil {
			cmd = c.app.GetCommand(word)
		} else {
			cmd = cmd.GetCommand(word)
		}
		known = nil
		if cmd != nil {
			for _, below := range cmd.Model().Commands {
				known = append(known, below.Name)
			}
		}
	}
	return nil
}

// flagModels returns a command's flags; those of the default command, if none was
// understood.
func flagModels(cmd *kingpin.CmdClause, app *kingpin.Application) []*kingpin.FlagModel {
	if cmd == nil {
		cmd = app.GetCommand("run")
	}
	return cmd.Model().Flags
}

// wrongValue finds the flag whose value is refused with err, which does not name it;
// nil if there is none.
func wrongValue(args []string, flags []*kingpin.FlagModel, err error) (flag *kingpin.FlagModel, value string) {
	for i, arg := range args {
		name, value, assigned := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !assigned && i+1 < len(args) {
			value = args[i+1]
		}
		for _, f := range flags {
			if strings.HasPrefix(arg, "--") && f.Name == name && !f.IsBoolFlag() {
				if refused := f.Value.Set(value); refused != nil && refused.Error() == err.Error() {
					return f, value
				}
			}
		}
	}
	return nil, ""
}

// hintOfValue tells how a value of the flag is written, by one that it can have.
func hintOfValue(flag *kingpin.FlagModel, command string) string {
	like := strings.Join(flag.Default, " or ")
	if _, isDuration := flag.Value.(*model.Duration); isDuration {
		like = "30s, 5m or 1d"
	}
	if typed, ok := flag.Value.(kingpin.Getter); ok {
		if _, isSize := typed.Get().(units.Base2Bytes); isSize {
			like = "512MiB"
		}
	}
	if like == "" {
		return fmt.Sprintf("'%s%s --help' tells what it takes", appName, command)
	}
	return fmt.Sprintf("write it like %s; '%s%s --help' tells what it is", like, appName, command)
}

// flagsOf returns the names of a command's flags.
func flagsOf(cmd *kingpin.CmdClause, app *kingpin.Application) (names []string) {
	for _, f := range flagModels(cmd, app) {
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
