package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/human"
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
	file := clause.Arg("file", "The configuration file.").Required().String()
	show := clause.Flag("print", "Print the configuration that the file stands for, without secrets.").Bool()
	c.command(clause, func() error {
		cfg, err := scrapeconfig.LoadFile(*file, log.NewNopLogger())
		if err != nil {
			return err
		}
		if *show {
			return printConfig(c.stdout, cfg)
		}
		return checkConfig(c.stdout, *file, cfg)
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

func checkConfig(w io.Writer, file string, cfg *config.Config) error {
	scrapes, err := cfg.GetScrapeConfigs()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s is valid: %s, %s\n", file,
		human.Count(len(scrapes), "scrape config"), human.Count(len(cfg.RemoteWriteConfigs), "destination"))

	refs, err := scrapeconfig.Files(cfg)
	if err != nil {
		return err
	}
	var unreadable []string
	for _, ref := range refs {
		err := ref.Check()
		switch {
		case err == nil:
		case ref.Glob: // targets may come later
			fmt.Fprintln(w, "note:", err)
		default:
			unreadable = append(unreadable, err.Error())
		}
	}
	if len(unreadable) == 0 {
		return nil
	}
	return &usageError{
		strings.Join(unreadable, "\nerror: "),
		"create the file or correct the path: the agent would start, and fail where it needs it",
	}
}
