package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
	denied, err := deniedFiles(cfg.Config, as)
	if err != nil {
		return err
	}
	options := pushcheck.Options{Sample: sample, External: cfg.GlobalConfig.ExternalLabels}
	good := 0
	for _, rw := range cfg.RemoteWriteConfigs {
		if _, err := fmt.Fprintf(c.stdout, "%s  %s\n", rw.Name, redact.Text(rw.URL.String())); err != nil {
			return err
		}
		steps := denied[rw.Name]
		for _, step := range steps { // the others would be taken as somebody who may
			printStep(c.stdout, step)
		}
		if len(steps) == 0 && c.checkDestination(rw, options) {
			good++
		}
	}
	problem := join(bad, nil)
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

// deniedFiles are the steps that fail because the user who runs the agent, where that
// is somebody else, may not read a file that a destination needs; by its name. All
// other steps are taken as the one who asks.
func deniedFiles(cfg *config.Config, as reader) (map[string][]pushcheck.Step, error) {
	denied := map[string][]pushcheck.Step{}
	if as.name == "" {
		return denied, nil
	}
	refs, err := scrapeconfig.Files(cfg)
	if err != nil {
		return nil, err
	}
	err = as.do(func() {
		for _, rw := range cfg.RemoteWriteConfigs {
			for _, ref := range refs {
				field, is := strings.CutPrefix(ref.Field, "remote_write["+rw.Name+"].")
				at := (*fs.PathError)(nil)
				if !is || !errors.As(ref.Check(), &at) || !errors.Is(at, fs.ErrPermission) {
					continue
				}
				step := pushcheck.Step{Name: pushcheck.StepToken, State: pushcheck.Failed, Text: at.Error(), Hint: deniedFileHint(as)}
				if strings.HasPrefix(field, "tls_config.") {
					step.Name = pushcheck.StepTLS
				}
				denied[rw.Name] = append(denied[rw.Name], step)
			}
		}
	})
	return denied, err
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
