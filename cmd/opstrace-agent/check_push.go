package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/human"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/pushcheck"
)

func (c *cli) addCheckPush(check *kingpin.CmdClause) {
	clause := check.Command("push", "Check the way to every destination, step by step, down to an empty write. No sample is sent.")
	file := c.configFileArg(clause)
	c.command(clause, func() error { return c.checkPush(*file) })
}

// configFileArg is the file that run would read, unless another one is named.
func (c *cli) configFileArg(clause *kingpin.CmdClause) *string {
	def := c.app.GetCommand("run").GetFlag("config.file").Model().Default
	return clause.Arg("file", "The configuration file.").Default(def...).String()
}

func (c *cli) checkPush(file string) error {
	cfg, err := loadConfig(file, log.NewNopLogger())
	if err != nil {
		return err
	}
	all := len(cfg.RemoteWriteConfigs)
	if all == 0 {
		return &usageError{file + " has no destination", "add an opstrace: section; 'opstrace-agent init' writes one"}
	}
	setUserAgents()
	good := 0
	for _, rw := range cfg.RemoteWriteConfigs {
		if _, err := fmt.Fprintf(c.stdout, "%s  %s\n", rw.Name, redact.Text(rw.URL.String())); err != nil {
			return err
		}
		if c.checkDestination(rw) {
			good++
		}
	}
	if good == all {
		_, err := fmt.Fprintf(c.stdout, "%s: samples would be accepted\n", human.Count(all, "destination"))
		return err
	}
	if _, err := fmt.Fprintf(c.stdout, "%d of %s: samples would not be accepted\n", all-good, human.Count(all, "destination")); err != nil {
		return err
	}
	return reportedError{fmt.Errorf("%d of %d destinations failed", all-good, all)}
}

// checkDestination prints each step as it is done. On a terminal it shows how
// long it waits for the next one.
func (c *cli) checkDestination(rw *config.RemoteWriteConfig) bool {
	begun := time.Now()
	line := startProgress(c.stderr, progressInterval, func() string {
		return fmt.Sprintf("waiting: %s of at most %s", time.Since(begun).Round(time.Second), rw.RemoteTimeout)
	})
	defer line.stop()
	return pushcheck.Check(context.Background(), rw, func(s pushcheck.Step) {
		line.clear()
		printStep(c.stdout, s)
	})
}

func printStep(w io.Writer, s pushcheck.Step) {
	took := ""
	if s.Took > 0 {
		took = fmt.Sprintf(" (%s)", human.Duration(s.Took.Round(time.Millisecond)))
	}
	fmt.Fprintf(w, "  %-4s  %-6s  %s%s\n", s.State, s.Name, redact.Text(s.Text), took)
	if s.Hint != "" {
		fmt.Fprintf(w, "                hint: %s\n", s.Hint)
	}
}
