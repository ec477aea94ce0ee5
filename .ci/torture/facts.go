package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// facts are what is known of a run from outside, and all that the rules look at.
type facts struct {
	schedule     schedule
	ended        time.Time // when the last event was over
	spans        []span
	starts       []time.Time // of the process
	looks        []look
	exits        []exit
	log          []string      // lines of the agent's that it must not write
	targets      []targetFacts // of the agent's
	sender       *senderFacts  // nil: there was none
	destinations []destinationFacts
}

// span is an event as it was played.
type span struct {
	event

	from, to time.Time // to is zero while it lasts
}

// overlaps reports whether a span had any part in a stretch of time.
func (s span) overlaps(from, to time.Time) bool {
	return s.from.Before(to) && (s.to.IsZero() || s.to.After(from))
}

// targetFacts are what a target has answered, to the end of each answer.
type targetFacts struct {
	name     string
	answered int // scrapes
	samples  int // in all of them at least
}

// destinationFacts are what an endpoint knows, and what the agent says of it.
type destinationFacts struct {
	name    string
	stored  uint64
	twice   uint64 // samples that it had stored already when they came
	lied    uint64 // samples that it acknowledged and did not store
	refused uint64 // samples in requests that it answered with 400 or 422
	// unsaved are those of them that a kill may have made the agent forget.
	unsaved uint64
	// unnoted are samples in requests that it took when the agent could not note it, and
	// forgotten are those of scrapes that were answered then: what the disk lost.
	unnoted   uint64
	forgotten int
	// missing are samples of scrapes that were answered and are not stored, at least: what
	// upstream adds to a scrape is not among them, nor what the odd target shows.
	missing  int
	sent     uint64   // samples stored of the sender's targets
	examples []string // of what is missing
	order    error    // samples that came behind newer ones
	wrong    []string // values that are no target's
	ledger   ledger.Terms
	known    bool // the ledger has an account of it
}

// terms are the samples of a ledger that did not arrive, by term.
func terms(l ledger.Terms) map[string]uint64 {
	return map[string]uint64{
		refused: ledger.Total(l.Refused), filtered: ledger.Total(l.Filtered), uncertain: ledger.Total(l.Uncertain),
		evicted: l.Evicted, lost: l.Lost, notAppended: l.NotAppended, rejected: ledger.Total(l.Rejected),
	}
}

// look is what was to be seen at a moment, between two times.
type look struct {
	from, to     time.Time
	pid          int    // 0: the process is meant not to run, or is stopped
	code         int    // of the command status
	headline     string // its first line
	disk         int64  // bytes in wal/ and backlog/, by inode
	resident     int64  // bytes
	goroutines   int    // 0: not known
	sockets      int    // that the process has open
	destinations []seen
	sender       *seen // nil: it cannot be asked
	senderDisk   int64 // bytes in its wal/ and backlog/
}

// looksText is a line for each look, for people.
func (f *facts) looksText() string {
	var b strings.Builder
	for _, l := range f.looks {
		fmt.Fprintf(&b, "%s pid %d code %d, %d KiB on disk, %d MiB resident, %d goroutines, %d sockets,",
			l.to.Format(stamp), l.pid, l.code, l.disk>>10, l.resident>>20, l.goroutines, l.sockets)
		for _, d := range l.destinations {
			fmt.Fprintf(&b, " %s %s %d,", d.Name, d.State, d.Ledger.OnDisk)
		}
		if l.sender != nil {
			fmt.Fprintf(&b, " sender %s %d,", l.sender.State, l.sender.Ledger.OnDisk)
		}
		fmt.Fprintf(&b, " %q\n", l.headline)
	}
	return b.String()
}

// seen is a destination as the API shows it.
type seen struct {
	Name      string       `json:"name"`
	State     string       `json:"state"`
	Counting  bool         `json:"counting"`
	LastError string       `json:"lastError"`
	Ledger    ledger.Terms `json:"ledger"`
}

// caughtUp reports whether nothing is to be sent but what was scraped just now.
func (s seen) caughtUp() bool { return !s.Counting && s.Ledger.OnDisk <= scrapedIn(told) }

// scrapedIn is how many samples all targets show in a time at least.
func scrapedIn(d time.Duration) uint64 {
	samples := 0
	for _, t := range targets {
		samples += t.samples + reported
	}
	return uint64(samples) * uint64(d/scrapeInterval)
}

// gather asks targets and endpoints when all is over.
func (f *facts) gather(w *world, file ledger.File) {
	forgotten := 0
	for _, t := range w.scraped {
		answered := t.Answered()
		if t.sent {
			if f.sender != nil {
				f.sender.least += len(answered) * (t.samples + reported)
			}
			continue
		}
		noted := len(answered)
		for _, s := range answered {
			if f.forgottenAt(s.At) {
				noted--
				forgotten += t.samples
			}
		}
		f.targets = append(f.targets, targetFacts{t.name, len(answered), noted * (t.samples + reported)})
	}
	for _, d := range w.destinations {
		s := d.endpoint.Snapshot()
		facts := destinationFacts{
			name: d.name, forgotten: forgotten, stored: uint64(s.Accepted), twice: uint64(s.Duplicates), lied: uint64(d.lied.Load()),
			refused: uint64(s.Answers[400].Samples + s.Answers[422].Samples),
			order:   s.CheckInOrder(), wrong: wrongValues(s.Series()),
			unsaved: unsaved(s.Requests, f.spans),
		}
		for _, r := range s.Requests {
			if r.Status/100 == 2 && f.forgottenAt(r.Done) {
				facts.unnoted += uint64(r.Samples)
			}
		}
		saved, known := file.Destinations[d.name]
		facts.ledger, facts.known = saved.Terms, known
		for _, t := range w.scraped {
			for _, metric := range t.metrics {
				if takes(d, metric) {
					facts.compare(s.Scrapes(t.Target, metric, time.Time{}), metric, !f.clockSet())
				}
			}
			facts.missing += missingOnce(t.options.Churn, t.Answered(), s.Series(
				labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, churn),
				labels.MustNewMatcher(labels.MatchEqual, "target", t.name),
			))
			if t.sent {
				for _, s := range s.Series(labels.MustNewMatcher(labels.MatchEqual, model.JobLabel, t.name)) {
					facts.sent += uint64(s.Count)
				}
			}
		}
		f.destinations = append(f.destinations, facts)
	}
}

// takes reports whether a destination is sent a metric: native histograms are sent where
// the configuration says so only.
func takes(d *destination, metric string) bool {
	native := metric == histograms || metric == floatHistograms
	return !native || d.takesHistograms()
}

// compare enters what is stored of one metric of a target, and, where that follows from
// the time, in which order.
func (f *destinationFacts) compare(s agenttest.Scrapes, metric string, ordered bool) {
	const most = 5
	f.missing += s.MissingSamples
	for _, ordinal := range s.Missing[:min(most, len(s.Missing))] {
		f.examples = append(f.examples, example(metric, s.Target, ordinal))
	}
	for _, v := range s.Unknown {
		f.wrong = append(f.wrong, example(metric, s.Target, v)+", a scrape that there was not")
	}
	if !ordered {
		return
	}
	for _, ordinal := range slices.Concat(s.Repeated, s.Disordered) {
		f.wrong = append(f.wrong, example(metric, s.Target, ordinal)+", at two times or out of order")
	}
}

// unsaved are samples that an endpoint refused for good shortly before a kill, so that the
// agent may not have noted it: the ledger is written once in a syncInterval.
func unsaved(requests []agenttest.Request, spans []span) (samples uint64) {
	for _, r := range requests {
		if (r.Status == 400 || r.Status == 422) && slices.ContainsFunc(spans, func(s span) bool {
			kill, ok := killed(s)
			return ok && !r.Done.After(kill) && kill.Sub(r.Done) < syncInterval+time.Second
		}) {
			samples += uint64(r.Samples)
		}
	}
	return samples
}

// killed returns when an event killed the process: at its beginning, or to mend the disk.
func killed(s span) (time.Time, bool) {
	m, _ := mannerOf(s.kind)
	if m.forgets {
		return s.to, m.kills
	}
	return s.from, m.kills
}

// forgottenAt reports whether what was written at a time may be gone: it was not forced to
// the disk before that broke.
func (f facts) forgottenAt(t time.Time) bool {
	return slices.ContainsFunc(f.spans, func(s span) bool {
		m, _ := mannerOf(s.kind)
		return m.forgets && s.overlaps(t, t.Add(syncInterval+2*time.Second))
	})
}

// clockSet reports whether it was.
func (f facts) clockSet() bool {
	for _, s := range f.spans {
		if s.kind == "clock-back" || s.kind == "clock-ahead" {
			return true
		}
	}
	return false
}
