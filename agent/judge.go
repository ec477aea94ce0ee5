package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/pulse"
	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// judgeInterval is how often what became of samples is noted, and problems are
// looked for when nobody asks.
const judgeInterval = 15 * time.Second

// judge remembers what a verdict needs besides the state of the moment.
type judge struct {
	logger log.Logger

	mtx     sync.Mutex
	noted   []noted              // in the last verdict.Window, the oldest first
	since   map[string]time.Time // of the problems that there are, by their key
	told    map[string]verdict.Problem
	reload  verdict.Reload
	stalled string
	unclean bool
}

// noted is what the ledgers and the disk were at one time.
type noted struct {
	at    time.Time
	bytes int64
	terms map[string]ledger.Terms // by destination
}

// NoteReload tells the agent what became of a reload: why it was refused and what can
// be done, both empty for one that succeeded.
func (a *Agent) NoteReload(why, hint string) {
	a.judge.mtx.Lock()
	defer a.judge.mtx.Unlock()
	a.judge.reload.Err, a.judge.reload.Hint = why, hint
	if why == "" {
		a.judge.reload.Differs = false
	}
}

// NoteFile tells the agent whether the configuration file is not what is in force.
func (a *Agent) NoteFile(differs bool) {
	a.judge.mtx.Lock()
	defer a.judge.mtx.Unlock()
	a.judge.reload.Differs = differs
}

// noteRestart remembers whether a part of the configuration waits for a restart.
func (j *judge) noteRestart(needed bool) {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	j.reload.Restart = needed
}

// NoteStalled tells the agent what made no progress when the watchdog was to be fed;
// empty: all did.
func (a *Agent) NoteStalled(what string) {
	a.judge.mtx.Lock()
	defer a.judge.mtx.Unlock()
	a.judge.stalled = what
}

func (j *judge) noteUnclean() {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	j.unclean = true
}

// verdict judges s. targets is nil while nothing is scraped.
func (j *judge) verdict(now time.Time, s *Status, targets map[string][]*scrape.Target) verdict.Verdict {
	j.mtx.Lock()
	defer j.mtx.Unlock()
	if j.isNew(s.Destinations) {
		j.remember(now, s)
	}
	v := verdict.Judge(j.facts(now, s, targets))
	since := map[string]time.Time{}
	for i := range v.Problems {
		p := &v.Problems[i]
		if before, ok := j.since[p.Key()]; ok {
			p.Since = before
		}
		since[p.Key()] = p.Since
	}
	j.since = since
	return v
}

func (j *judge) facts(now time.Time, s *Status, targets map[string][]*scrape.Target) verdict.Facts {
	f := verdict.Facts{
		Now: now, Started: s.Started, Ready: s.Ready, Waiting: s.Waiting, Limits: s.Limits, Kept: s.Kept,
		Stalled: j.stalled, UncleanEnd: j.unclean, Reload: j.reload,
		Storage: verdict.Storage{
			Bytes: s.Storage.Bytes, MaxBytes: s.Storage.MaxBytes, Growth: j.growth(now, s.Storage.Bytes),
			Refusing: s.Storage.Refusing, Unwritable: s.Storage.Unwritable, Denied: s.Storage.Denied,
		},
		Targets: countTargets(targets),
	}
	f.Targets.NoJobs, f.Receives = s.noJobs, s.receives
	if s.Clock != nil && s.Clock.Recent {
		f.ClockStep = time.Duration(s.Clock.LastStepSeconds * float64(time.Second))
	}
	for _, l := range s.MissingLogs {
		f.MissingLogs = append(f.MissingLogs, verdict.Job{Name: l.File, Err: l.Err})
	}
	for _, job := range s.StoppedJobs {
		f.StoppedJobs = append(f.StoppedJobs, verdict.Job{Name: job.Job, Err: job.Err})
	}
	for _, d := range s.Destinations {
		f.Destinations = append(f.Destinations, verdict.Destination{Status: d, Recent: verdict.RecentOf(j.then(d.Name, d.Ledger), d.Ledger)})
	}
	return f
}

// isNew reports whether nothing is known of what became of some destination's samples
// until now: what becomes of them from now on is recent.
func (j *judge) isNew(destinations []delivery.Status) bool {
	return slices.ContainsFunc(destinations, func(d delivery.Status) bool {
		return !d.Counting && !slices.ContainsFunc(j.noted, func(n noted) bool { _, ok := n.terms[d.Name]; return ok })
	})
}

// then is what a destination's ledger was a verdict.Window ago, or when the
// destination was seen first.
func (j *judge) then(name string, now ledger.Terms) ledger.Terms {
	for _, n := range j.noted {
		if terms, ok := n.terms[name]; ok {
			return terms
		}
	}
	return now
}

// growth is in bytes a second.
func (j *judge) growth(now time.Time, bytes int64) float64 {
	if len(j.noted) == 0 {
		return 0
	}
	// What is on disk goes up and down by a segment.
	const least = time.Minute
	then := j.noted[0]
	if now.Sub(then.at) < least {
		return 0
	}
	return float64(bytes-then.bytes) / now.Sub(then.at).Seconds()
}

// note remembers what became of samples so far, and logs which problems have begun
// and which are over.
func (j *judge) note(now time.Time, s Status) {
	j.mtx.Lock()
	j.remember(now, &s)
	told := map[string]verdict.Problem{}
	for _, p := range s.Verdict.Problems {
		if !p.Level.Well() && p.Level != verdict.Unconfirmed {
			told[p.Key()] = p
		}
	}
	before := j.told
	j.told = told
	j.mtx.Unlock()
	for _, key := range slices.Sorted(maps.Keys(told)) {
		if _, known := before[key]; !known {
			p := told[key]
			keyvals := []any{"msg", "Problem", "kind", p.Kind, "about", p.About, "problem", p.Text}
			if p.Hint != "" {
				keyvals = append(keyvals, "hint", p.Hint)
			}
			level.Warn(j.logger).Log(keyvals...)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before)) {
		if _, still := told[key]; !still {
			p := before[key]
			level.Info(j.logger).Log("msg", "Problem is over", "kind", p.Kind, "about", p.About, "after", now.Sub(p.Since).Round(time.Second))
		}
	}
}

func (j *judge) remember(now time.Time, s *Status) {
	n := noted{at: now, bytes: s.Storage.Bytes, terms: map[string]ledger.Terms{}}
	for _, d := range s.Destinations {
		if !d.Counting {
			n.terms[d.Name] = d.Ledger
		}
	}
	j.noted = append(j.noted, n)
	j.noted = slices.DeleteFunc(j.noted, func(n noted) bool { return now.Sub(n.at) > verdict.Window })
}

// watchProblems notes until ctx ends.
func (a *Agent) watchProblems(ctx context.Context) {
	for pulse.Wait(ctx, judgeInterval) {
		a.judge.note(time.Now(), a.Status())
	}
}

func countTargets(targets map[string][]*scrape.Target) (n verdict.Targets) {
	for _, job := range slices.Sorted(maps.Keys(targets)) {
		for _, t := range targets[job] {
			switch t.Health() {
			case scrape.HealthGood:
				n.Up++
			case scrape.HealthBad:
				n.Down++
				if err := t.LastError(); err != nil && n.Failing == "" {
					n.Failing, n.FailingErr = redact.URL(t.URL().String()), redact.Text(err.Error())
				}
			default:
				n.Unknown++
			}
		}
	}
	return n
}

var descProblem = prometheus.NewDesc("opstrace_agent_problem",
	"1 for each kind of problem that there is, 0 for the others. The level is that of the worst of its kind.", []string{"kind", "level"}, nil)

// problems exports what the verdict says.
type problems struct{ status func() Status }

// Describe implements prometheus.Collector.
func (problems) Describe(ch chan<- *prometheus.Desc) { ch <- descProblem }

// Collect implements prometheus.Collector.
func (p problems) Collect(ch chan<- prometheus.Metric) {
	worst := map[verdict.Kind]verdict.Level{}
	for _, problem := range p.status().Verdict.Problems { // the worst first
		if _, known := worst[problem.Kind]; !known {
			worst[problem.Kind] = problem.Level
		}
	}
	for _, kind := range verdict.Kinds() {
		value, is := 0.0, verdict.Good
		if level, there := worst[kind]; there {
			value, is = 1, level
		}
		ch <- prometheus.MustNewConstMetric(descProblem, prometheus.GaugeValue, value, string(kind), string(is))
	}
}
