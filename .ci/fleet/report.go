package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// processorTime is what this process has used, agents, targets and endpoint together.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report prints all that was seen; what is missing is an error.
func (f *fleet) report(out io.Writer) error {
	snap := f.endpoint.Snapshot()
	stored := storedScrapes(snap)
	var live, first, before, behind, newcomers delays
	for _, m := range f.agents {
		if !m.live.IsZero() {
			live = append(live, m.live.Sub(f.up))
		}
		if d, ok := firstAfter(stored[m.name], f.up); ok {
			first = append(first, d)
		}
		// What was scraped right before the outage waited for its end.
		before = before.add(stored[m.name], f.ready, f.down.Add(-2*f.options.batchDeadline))
		behind = behind.add(stored[m.name], f.up, f.ended.Add(-2*f.options.batchDeadline))
	}
	for _, m := range f.newcomers {
		newcomers = newcomers.add(stored[m.name], f.up, f.ended.Add(-2*f.options.batchDeadline))
	}
	fmt.Fprintf(out, "\nAfter the return          median    99 %%    worst\n")
	for _, row := range []struct {
		what string
		of   delays
	}{
		{"first sample of an agent", first},
		{"an agent is live", live},
		{"\nDelay of samples\nbefore the outage", before},
		{"scraped after the return", behind},
		{"newcomers, no backlog", newcomers},
	} {
		label := row.what
		if i := strings.LastIndexByte(label, '\n'); i >= 0 {
			fmt.Fprintln(out, label[:i])
			label = label[i+1:]
		}
		fmt.Fprintf(out, "%-24s %6.1f s %6.1f s %6.1f s\n", label, row.of.quantile(50).Seconds(), row.of.quantile(99).Seconds(), row.of.quantile(100).Seconds())
	}
	f.reportRates(out, snap)
	return f.reportMissing(out, snap)
}

// storedScrapes has the stored samples that tell of scrapes by target.
func storedScrapes(snap *agenttest.Snapshot) map[string][]agenttest.Sample {
	by := map[string][]agenttest.Sample{}
	for _, s := range snap.Series(labels.MustNewMatcher(labels.MatchEqual, "__name__", agenttest.ScrapesMetric)) {
		name := s.Labels.Get("target")
		by[name] = append(by[name], s.Samples...)
	}
	return by
}

// reportRates prints what the endpoint saw in the outage and from its end until all
// were live, and some seconds more.
func (f *fleet) reportRates(out io.Writer, snap *agenttest.Snapshot) {
	if f.options.answer != 0 {
		away := seconds(snap.Requests, f.down, f.up)
		last := away[len(away)*2/3:] // pauses have grown
		fmt.Fprintf(out, "\nIn the last third of the outage: %.1f requests and %.1f KB a second.\n",
			herdOf(last, func(s second) int { return s.requests }).mean(len(last)),
			herdOf(last, func(s second) int { return s.bytes }).mean(len(last))/1000)
	}
	all := seconds(snap.Requests, f.up, f.back)
	requests := herdOf(all, func(s second) int { return s.requests })
	refusals := herdOf(all, func(s second) int { return s.refused })
	samples := herdOf(all, func(s second) int { return s.samples })
	fmt.Fprintf(out, "\nFrom the return until all were live and all newcomers had begun, %.1f s: %d requests, %d refused (429, 503), %d samples taken.\n",
		f.back.Sub(f.up).Seconds(), requests.total, refusals.total, samples.total)
	fmt.Fprintf(out, "Peak/mean of a second: requests %.1f (peak %d), samples %.1f (peak %d).\n",
		requests.peakToMean(len(all)), requests.peak, samples.peakToMean(len(all)), samples.peak)
	fmt.Fprintf(out, "Used %.2f of %d processors meanwhile, agents, targets and endpoint together.\n\n second  requests  refused  samples\n",
		f.spent.Seconds()/max(f.back.Sub(f.up).Seconds(), 0.001), runtime.NumCPU())
	for i, s := range all {
		fmt.Fprintf(out, "%7d  %8d  %7d  %7d\n", i+1, s.requests, s.refused, s.samples)
	}
}

// reportMissing compares ledgers and endpoint, which do not know of each other.
func (f *fleet) reportMissing(out io.Writer, snap *agenttest.Snapshot) error {
	var errs []error
	for _, m := range f.all() {
		errs = append(errs, snap.Scrapes(m.target, "", time.Time{}).Err())
	}
	errs = append(errs, snap.CheckInOrder())
	terms := f.terms()
	missing := int64(terms.Appended) - snap.Accepted
	fmt.Fprintf(out, "\nscraped %d, delivered %d, stored %d, sent twice %d, missing %d\n", terms.Appended, terms.Delivered, snap.Accepted, snap.Duplicates, missing)
	if missing != 0 {
		errs = append(errs, fmt.Errorf("%d samples were scraped and %d are stored", terms.Appended, snap.Accepted))
	}
	return errors.Join(errs...)
}
