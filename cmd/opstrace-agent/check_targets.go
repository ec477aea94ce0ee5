package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/targetcheck"
)

// discoveryTimeout bounds one round of service discovery in check targets.
const discoveryTimeout = 10 * time.Second

func (c *cli) addCheckTargets(check *kingpin.CmdClause) {
	clause := check.Command("targets", "Scrape every target once, and print what would be sent. Nothing is sent.")
	file := c.configFileArg(clause)
	given := &runFlags{}
	given.registerLimits(clause)
	given.registerFeatures(clause)
	c.command(clause, func() error {
		path := file.path(installRoot)
		judge, err := judgeOf(path, given, installRoot)
		if err != nil {
			return err
		}
		return c.checkTargets(path, judge)
	})
}

// judge is by what run would judge targets.
type judge struct {
	limits   limits.Limits // 0: from the memory
	features agent.Features
	ratio    float64 // of the memory; 0: it is not looked at
	memory   memlimit.Provider
	service  bool // with flags of the installed service
}

// judgeOf returns by what run would judge the targets of a file: by the flags that are
// given and, where the file is that of the service that is installed below root, by
// those of the service. What features change in the file's defaults is changed then.
// Errors are a *usageError.
func judgeOf(file string, given *runFlags, root string) (judge, error) {
	if err := given.validateLimits(); err != nil {
		return judge{}, err
	}
	features, err := given.parseFeatures()
	if err != nil {
		return judge{}, err
	}
	j := judge{limits: given.limits(), features: features, ratio: defaultMemoryRatio, memory: ownMemory}
	if !isService(file, root) {
		return j, nil
	}
	flags, err := serviceRunFlags(root)
	if err != nil {
		return judge{}, err
	}
	j.service = flags.limits() != (limits.Limits{}) || len(flags.features) > 0
	both := runFlags{features: slices.Concat(given.features, flags.features)}
	if j.features, err = both.parseFeatures(); err != nil {
		return judge{}, err
	}
	j.limits = j.limits.Or(flags.limits())
	j.memory = memlimit.ApplyFallback(serviceMemory(root), ownMemory)
	j.ratio = flags.memlimitRatio
	if !flags.autoGOMEMLIMIT {
		j.ratio = 0
	}
	return j, nil
}

func (c *cli) checkTargets(file string, by judge) error {
	cfg, err := loadConfig(file, log.NewNopLogger())
	if err != nil {
		return err
	}
	if len(cfg.ScrapeConfigs) == 0 {
		return &usageError{file + " has no scrape job", "add one under scrape_configs; 'opstrace-agent init' writes a file with some"}
	}
	setUserAgents()
	if by.ratio > 0 {
		// The limits follow from the memory. Where that is not known, run knows it
		// neither.
		_ = setMemoryLimit(by.ratio, 0, by.memory)
	}
	var now atomic.Value // what the line shows
	now.Store("looking for targets")
	line := startProgress(c.stderr, progressInterval, func() string { return now.Load().(string) })
	report, err := targetcheck.Run(context.Background(), cfg, targetcheck.Options{
		DiscoveryTimeout: discoveryTimeout,
		Limits:           by.limits,
		Scrape:           by.features.ScrapeOptions(),
		Progress:         func(done, total int, what string) { now.Store(fmt.Sprintf("%d of %d %s", done, total, what)) },
	})
	line.stop()
	if err != nil {
		return err
	}
	if by.service {
		report.Warnings = append(report.Warnings, "judged by the limits and features of the installed service, "+serviceSource)
	}
	if _, err := io.WriteString(c.stdout, formatTargets(report)); err != nil {
		return err
	}
	if report.Failed() {
		return reportedError{errors.New("not all can be scraped and sent")}
	}
	return nil
}

func formatTargets(r *targetcheck.Report) string {
	var b strings.Builder
	for _, job := range r.Jobs {
		fmt.Fprintf(&b, "%s: %s\n", redact.Line(job.Name, 200), number.Count(len(job.Targets), "target"))
		for _, f := range job.Failures {
			fmt.Fprintf(&b, "  FAIL  %s\n", redact.Line(redact.Text(f), 500))
		}
		for _, n := range job.Notes {
			fmt.Fprintf(&b, "  note  %s\n", redact.Line(n, 500))
		}
		if job.Dropped > 0 {
			fmt.Fprintf(&b, "  note  relabel_configs drop %s\n", number.Count(job.Dropped, "target"))
		}
		for _, t := range job.Targets {
			formatTarget(&b, r, t)
		}
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "note  %s\n", redact.Line(w, 500))
	}
	formatSum(&b, r)
	return b.String()
}

func formatTarget(b *strings.Builder, r *targetcheck.Report, t *targetcheck.Target) {
	state := "ok"
	if t.Err != nil {
		state = "FAIL"
	}
	fmt.Fprintf(b, "  %-4s  %s  %s\n", state, redact.Line(redact.URL(t.URL), 200), redact.Line(t.Labels.String(), 500))
	if t.Err != nil {
		fmt.Fprintf(b, "        %s\n", redact.Line(redact.Text(t.Err.Error()), 500))
	} else {
		text := fmt.Sprintf("%s in %s", number.Count(t.Scraped, "sample"), number.Duration(t.Took))
		if dropped := t.Scraped - t.Kept; dropped > 0 {
			text += fmt.Sprintf(", %s dropped by metric_relabel_configs", number.Group(uint64(dropped)))
		}
		if t.NotTaken > 0 {
			text += fmt.Sprintf(", %s not taken: repeated, or more than 10 minutes ahead", number.Group(uint64(t.NotTaken)))
		}
		for _, reason := range slices.Sorted(maps.Keys(t.Dropped)) {
			text += fmt.Sprintf(", %s dropped: %s", number.Group(uint64(t.Dropped[reason])), droppedWords[reason])
		}
		fmt.Fprintf(b, "        %s\n", text)
	}
	for i, s := range t.Sends {
		fmt.Fprintf(b, "        to %s: %s\n", redact.Line(r.Destinations[i], 200), formatSend(s))
	}
}

// droppedWords say why the agent drops series.
var droppedWords = map[string]string{
	limits.TooLong: "a label is longer than --limits.label-length",
	limits.TooMany: "more labels than --limits.labels",
}

func formatSend(s targetcheck.Send) string {
	text := fmt.Sprintf("%s, %s", number.Count(s.Samples, "sample"), number.Bytes(int64(s.Bytes)))
	if s.Dropped > 0 {
		text += fmt.Sprintf(", %s dropped by write_relabel_configs", number.Group(uint64(s.Dropped)))
	}
	if s.Histograms > 0 {
		text += fmt.Sprintf(", %s left out for lack of send_native_histograms", number.Count(s.Histograms, "native histogram"))
	}
	if s.Refused > 0 {
		text += fmt.Sprintf(", %s would be refused: %s", number.Group(uint64(s.Refused)), redact.Line(s.Problem, 200))
	}
	return text
}

// formatSum is the last lines: all targets together.
func formatSum(b *strings.Builder, r *targetcheck.Report) {
	sums := make([]targetcheck.Send, len(r.Destinations))
	targets, failed := 0, 0
	for _, job := range r.Jobs {
		for _, t := range job.Targets {
			targets++
			if t.Err != nil {
				failed++
			}
			for i, s := range t.Sends {
				sums[i].Samples += s.Samples
				sums[i].Dropped += s.Dropped
				sums[i].Histograms += s.Histograms
				sums[i].Bytes += s.Bytes
				sums[i].Refused += s.Refused
				sums[i].Problem = cmp.Or(sums[i].Problem, s.Problem)
			}
		}
	}
	fmt.Fprintf(b, "\n%s, %d failed\n", number.Count(targets, "target"), failed)
	if r.NoRoom > 0 {
		fmt.Fprintf(b, "FAIL  %s series in all, of which %s would be dropped: --limits.max-series takes %s, the last quarter of them from targets with less than %s\n",
			number.Group(uint64(r.Series)), number.Group(uint64(r.NoRoom)), number.Group(r.MaxSeries), number.Group(limits.SmallTarget(r.MaxSeries)))
	}
	for i, name := range r.Destinations {
		fmt.Fprintf(b, "one scrape of all, to %s: %s\n", redact.Line(name, 200), formatSend(sums[i]))
	}
	if len(r.Destinations) == 0 {
		b.WriteString("no destination: nothing would be sent\n")
	}
}
