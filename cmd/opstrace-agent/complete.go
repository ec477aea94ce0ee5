package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// completeFlag is what the shells' completion scripts call the program with, as
// the first argument; behind it are the words of the command line so far, the
// one that is being typed, which may be empty, as the last.
const completeFlag = "--completion-bash"

// completions returns what the last of words may become. Nothing: the shell
// completes names of files.
//
// kingpin's own tells only what may stand after a word that is complete, and
// takes a command that is half typed for an argument of the default command.
func (c *cli) completions(words []string) []string {
	if len(words) == 0 {
		return nil
	}
	last := words[len(words)-1]
	at := c.completionPlace(words[:len(words)-1])
	var candidates []string
	switch name, _, assigned := strings.Cut(last, "="); {
	case at.pending != nil:
		candidates = at.values(at.pending.Name)
	case assigned && strings.HasPrefix(last, "--"):
		for _, v := range at.values(name[2:]) {
			candidates = append(candidates, name+"="+v)
		}
	case strings.HasPrefix(last, "-"):
		candidates = at.flagNames(strings.HasPrefix(last, "--no-"))
	default:
		candidates = at.commandNames()
	}
	return slices.DeleteFunc(candidates, func(s string) bool { return !strings.HasPrefix(s, last) })
}

// completionPlace is where on the command line the last word stands.
type completionPlace struct {
	app      *kingpin.Application
	command  *kingpin.CmdClause // nil: none is named yet
	pending  *kingpin.FlagModel // its value comes next
	runFlags bool               // those of another process, after -- of reload
}

func (c *cli) completionPlace(words []string) completionPlace {
	at := completionPlace{app: c.app}
	for _, w := range words {
		switch {
		case at.pending != nil:
			at.pending = nil
		case w == "--":
			at.runFlags = true
		case strings.HasPrefix(w, "--"):
			at.pending = at.valueFlag(w[2:])
		case strings.HasPrefix(w, "-"):
		default:
			at.enter(w)
		}
	}
	return at
}

// enter descends into a command; what is none is an argument.
func (at *completionPlace) enter(name string) {
	next := at.app.GetCommand(name)
	if at.command != nil {
		next = at.command.GetCommand(name)
	}
	if next != nil {
		at.command = next
	}
}

// clause returns the command whose flags are meant: run where none is named.
func (at *completionPlace) clause() *kingpin.CmdClause {
	if at.command == nil || at.runFlags {
		return at.app.GetCommand("run")
	}
	return at.command
}

func (at *completionPlace) flags() []*kingpin.FlagModel {
	return append(slices.Clone(at.clause().Model().Flags), at.app.Model().Flags...)
}

// valueFlag returns the flag if the next word is its value, else nil.
func (at *completionPlace) valueFlag(name string) *kingpin.FlagModel {
	for _, f := range at.flags() {
		if f.Name == name && !f.IsBoolFlag() {
			return f
		}
	}
	return nil
}

// flagNames are those that --help shows; negated, those that can be switched off.
func (at *completionPlace) flagNames(negated bool) []string {
	var names []string
	for _, f := range at.flags() {
		switch {
		case f.Hidden:
		case !negated:
			names = append(names, "--"+f.Name)
		case f.IsBoolFlag():
			names = append(names, "--no-"+f.Name)
		}
	}
	return names
}

func (at *completionPlace) commandNames() []string {
	group := at.app.Model().CmdGroupModel
	if at.command != nil {
		group = at.command.Model().CmdGroupModel
	}
	var names []string
	for _, c := range group.Commands {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	return names
}

// values are those that a flag can have, where it takes only some.
func (at *completionPlace) values(name string) []string {
	choices, found, _ := at.clause().FlagCompletion(name, "")
	if !found {
		return nil
	}
	return choices
}
