package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/pushcheck"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func (c *cli) addCheckPush(check *kingpin.CmdClause) {
	clause := check.Command("push", "Check the way to every destination, step by step, down to an empty write.")
	file := c.configFileArg(clause)
	sample := clause.Flag("write", "Write one sample too, of opstrace_agent_check: an empty write passes where nothing can be stored.").Bool()
	as := asArg(clause)
	c.command(clause, func() error {
		reader, err := readerOf(*as, installRoot)
		if err != nil {
			return err
		}
		return c.checkPush(file.path(installRoot), reader, *sample)
	})
}

func (c *cli) checkPush(file string, as reader, sample bool) error {
	cfg, err := scrapeconfig.ReadFile(wholePath(file), log.NewNopLogger())
	if err != nil {
		return err
	}
	all := len(cfg.RemoteWriteConfigs)
	if all == 0 {
		return &usageError{file + " has no destination", "add an opstrace: section; 'opstrace-agent init' writes one"}
	}
	setUserAgents()
	bad, err := checkSense(c.stdout, file, cfg)
	if err != nil {
		return err
	}
	unreadable, err := checkSecrets(c.stdout, cfg.Config, as)
	if err != nil {
		return err
	}
	options := pushcheck.Options{Sample: sample, External: cfg.GlobalConfig.ExternalLabels}
	good := 0
	for _, rw := range cfg.RemoteWriteConfigs {
		if _, err := fmt.Fprintf(c.stdout, "%s  %s\n", rw.Name, redact.Text(rw.URL.String())); err != nil {
			return err
		}
		if c.checkDestination(rw, options) {
			good++
		}
	}
	problem := join(unreadable, bad)
	switch {
	case good < all:
		if _, err := fmt.Fprintf(c.stdout, "%d of %s: samples would not be accepted\n", all-good, number.Count(all, "destination")); err != nil {
			return err
		}
		if problem == nil {
			problem = reportedError{fmt.Errorf("%d of %d destinations failed", all-good, all)}
		}
	case problem == nil:
		_, err := fmt.Fprintf(c.stdout, "%s: samples would be accepted\n", number.Count(all, "destination"))
		return err
	}
	return problem
}

// checkSecrets reads what the destinations need as the user who runs the agent,
// where that is somebody else: the steps read it as the one who asks.
func checkSecrets(w io.Writer, cfg *config.Config, as reader) (*usageError, error) {
	if as.name == "" {
		return nil, nil
	}
	refs, err := scrapeconfig.Files(cfg)
	if err != nil {
		return nil, err
	}
	refs = slices.DeleteFunc(refs, func(r scrapeconfig.FileRef) bool { return !strings.HasPrefix(r.Field, "remote_write[") })
	return checkFiles(w, refs, as)
}

// checkDestination prints each step as it is done. On a terminal it shows how
// long it waits for the next one.
func (c *cli) checkDestination(rw *config.RemoteWriteConfig, o pushcheck.Options) bool {
	begun := time.Now()
	line := startProgress(c.stderr, progressInterval, func() string {
		return fmt.Sprintf("waiting: %s of at most %s", time.Since(begun).Round(time.Second), rw.RemoteTimeout)
	})
	defer line.stop()
	return pushcheck.Check(context.Background(), rw, o, func(s pushcheck.Step) {
		line.clear()
		printStep(c.stdout, s)
	})
}

func printStep(w io.Writer, s pushcheck.Step) {
	took := ""
	if s.Took > 0 {
		took = fmt.Sprintf(" (%s)", number.Duration(s.Took.Round(time.Millisecond)))
	}
	fmt.Fprintf(w, "  %-4s  %-6s  %s%s\n", s.State, s.Name, redact.Text(s.Text), took)
	if s.Hint != "" {
		fmt.Fprintf(w, "                hint: %s\n", s.Hint)
	}
}
