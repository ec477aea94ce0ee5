package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/configcheck"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// addCheck adds what can be known before a configuration is used.
func (c *cli) addCheck() {
	check := c.app.Command("check", "Check before running.")
	c.addCheckConfig(check)
	c.addCheckPush(check)
	c.addCheckTargets(check)
}

func (c *cli) addCheckConfig(check *kingpin.CmdClause) {
	clause := check.Command("config", "Check a configuration file and the files it names.")
	file := c.configFileArg(clause)
	show := clause.Flag("print", "Print the configuration that the file stands for, without secrets.").Bool()
	as := asArg(clause)
	c.command(clause, func() error {
		path := file.path(installRoot)
		f, err := scrapeconfig.ReadFile(path, log.NewNopLogger())
		if err != nil {
			return err
		}
		if *show {
			return printConfig(c.stdout, f.Config)
		}
		reader, err := readerOf(*as, installRoot)
		if err != nil {
			return err
		}
		return checkConfig(c.stdout, path, f, reader)
	})
}

func printConfig(w io.Writer, cfg *config.Config) error {
	text, err := scrapeconfig.Print(cfg)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

func checkConfig(w io.Writer, file string, f *scrapeconfig.File, as reader) error {
	scrapes, err := f.GetScrapeConfigs()
	if err != nil {
		return err
	}
	missing, err := configcheck.Missing(f, file)
	if err != nil {
		return err
	}
	if len(missing) > 0 && missing[0].Fatal {
		return &usageError{missing[0].String(), missing[0].Hint}
	}
	refs, err := scrapeconfig.Files(f.Config)
	if err != nil {
		return err
	}
	if refs, err = configcheck.Written(f, file, refs); err != nil {
		return err
	}
	var notes bytes.Buffer // below the verdict, which they may change
	unreadable, err := checkFiles(&notes, append([]scrapeconfig.FileRef{{Field: "the configuration", Path: file}}, refs...), as)
	if err != nil {
		return err
	}
	printNotes(&notes, missing)
	bad, err := checkSense(&notes, file, f)
	if err != nil {
		return err
	}
	for _, warning := range (limits.Limits{}).Configure(f.Config) {
		fmt.Fprintf(&notes, "note: %s\n      hint: set body_size_limit to that, or leave it out\n", warning)
	}
	problem := join(unreadable, bad)
	if problem == nil {
		fmt.Fprintf(w, "%s is valid: %s, %s\n", file,
			number.Count(len(scrapes), "scrape config"), number.Count(len(f.RemoteWriteConfigs), "destination"))
	}
	if _, err := notes.WriteTo(w); err != nil {
		return err
	}
	return problem
}
