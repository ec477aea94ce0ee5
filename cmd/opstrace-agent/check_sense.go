package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"

	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/configcheck"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func asArg(clause *kingpin.CmdClause) *string {
	return clause.Flag("as", "User who has to be able to read the files; only root can ask for another one. Default for root, on a host with the packaged service: "+serviceUser+".").
		PlaceHolder("USER").String()
}

// checkFiles reads files as the agent will, as the user who runs it. What may come
// later is a note.
func checkFiles(w io.Writer, refs []scrapeconfig.FileRef, as reader) (unreadable *usageError, err error) {
	var problems []string
	denied := false
	err = as.do(func() {
		for _, ref := range refs {
			err := ref.Check()
			switch {
			case err == nil:
			case ref.Glob && !errors.Is(err, fs.ErrPermission): // targets may come later
				fmt.Fprintln(w, "note:", err)
			default:
				denied = denied || errors.Is(err, fs.ErrPermission)
				if !slices.Contains(problems, err.Error()) { // two jobs may name one file
					problems = append(problems, err.Error())
				}
			}
		}
	})
	switch {
	case err != nil || len(problems) == 0:
		return nil, err
	case denied:
		return &usageError{strings.Join(problems, "\nerror: "), deniedFileHint(as)}, nil
	}
	return &usageError{
		strings.Join(problems, "\nerror: "),
		"create the file or correct the path: the agent would start, and fail where it needs it",
	}, nil
}

// deniedFileHint is what to do about a file that may not be read.
func deniedFileHint(as reader) string {
	if as.name == "" { // whoever asks; the agent may well read it
		return "let the user that runs the agent read it, and run this check as that user, or, for the installed service, with sudo"
	}
	return fmt.Sprintf("let user %s, who runs the agent, read it: chgrp %[1]s FILE && chmod g+r FILE, and g+x for its folders; if somebody else runs it with this configuration, name them with --as", as.name)
}

// join makes one of two mistakes, with the hint of the first.
func join(first, second *usageError) error {
	switch {
	case first == nil && second == nil:
		return nil
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return &usageError{first.msg + "\nerror: " + second.msg, first.hint + "; " + second.hint}
}

// checkSense prints what is valid and most likely not meant, and
// returns what would be refused.
func checkSense(w io.Writer, file string, f *scrapeconfig.File) (bad *usageError, err error) {
	host, _ := os.Hostname() // without it, less can be said
	findings, err := configcheck.Look(f, file, host)
	if err != nil {
		return nil, err
	}
	notes := slices.DeleteFunc(slices.Clone(findings), func(f configcheck.Finding) bool { return f.Fatal })
	fatal := slices.DeleteFunc(findings, func(f configcheck.Finding) bool { return !f.Fatal })
	printNotes(w, notes)
	if len(fatal) == 0 {
		return nil, nil
	}
	lines := make([]string, len(fatal))
	for i, finding := range fatal {
		lines[i] = redact.Line(finding.String(), 500)
	}
	return &usageError{strings.Join(lines, "\nerror: "), fatal[0].Hint}, nil
}

func printNotes(w io.Writer, findings []configcheck.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "note: %s\n      hint: %s\n", redact.Line(f.String(), 500), f.Hint)
	}
}
