package agent

import (
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

func TestSkipPace(t *testing.T) {
	t.Parallel()
	const s = time.Second
	var p skipPace
	at := time.Now()
	for i, c := range []struct {
		after time.Duration // of the line before
		stage delivery.Pressure
		want  skipAction
	}{
		{0, delivery.SmallBatches, keepSkipped},
		{s, delivery.SkipScrapes, skipOneMore},
		{s, delivery.SkipScrapes, keepSkipped}, // what the first gives back is not known yet
		{skipNext, delivery.SkipScrapes, skipOneMore},
		{s, delivery.Relaxed, keepSkipped}, // too soon
		{skipFor, delivery.SmallBatches, keepSkipped},
		{s, delivery.ShedSeries, skipNone},
		{s, delivery.ShedSeries, keepSkipped},
		{skipFor, delivery.SkipScrapes, skipOneMore},
		{skipFor, delivery.Relaxed, keepSkipped}, // the second time lasts longer
		{skipFor, delivery.Relaxed, skipNone},
		{skipAgain + s, delivery.SkipScrapes, skipOneMore},
		{skipFor, delivery.Relaxed, skipNone}, // that is forgotten
	} {
		at = at.Add(c.after)
		got := p.look(c.stage, at)
		if got != c.want {
			t.Fatalf("line %d: %v, expected %v", i, got, c.want)
		}
		p.did(got, at)
	}
	for range 20 { // in quick succession
		p.did(skipOneMore, at)
		p.did(skipNone, at)
	}
	if p.atLeast != maxSkip {
		t.Errorf("skipped for %s at least, expected %s", p.atLeast, maxSkip)
	}
}

// TestSkipPaceOfWhatIsGone: when the last of the skipped targets is no more, it is as
// if all had come back.
func TestSkipPaceOfWhatIsGone(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for _, c := range []struct {
		skipped, gone int
		before, after time.Time // released
		left          int
		next          skipAction // when memory is short, at once
	}{
		{skipped: 0, gone: 0, left: 0, next: skipOneMore},
		{skipped: 2, gone: 0, left: 2, next: keepSkipped},
		{skipped: 2, gone: 1, left: 1, next: keepSkipped},
		{skipped: 2, gone: 2, left: 0, next: skipOneMore, after: at},
		{skipped: 0, gone: 0, left: 0, next: skipOneMore, before: at.Add(-time.Hour), after: at.Add(-time.Hour)},
	} {
		p := skipPace{skipped: c.skipped, last: at, released: c.before, atLeast: skipFor}
		p.forgot(c.gone, at)
		if p.skipped != c.left || !p.released.Equal(c.after) || p.atLeast != skipFor {
			t.Errorf("%+v: %+v", c, p)
		}
		if got := p.look(delivery.SkipScrapes, at); got != c.next {
			t.Errorf("%+v: then %v", c, got)
		}
	}
}

// TestSkips: of all that discovery has found, the largest target is left out and
// nothing else, however similar; and it comes back.
func TestSkips(t *testing.T) {
	t.Parallel()
	cfg := &config.ScrapeConfig{
		JobName: "a", MetricsPath: "/metrics", Scheme: "http", Params: map[string][]string{"module": {"x"}},
		ScrapeInterval: model.Duration(10 * time.Second), ScrapeTimeout: model.Duration(time.Second),
	}
	other := *cfg
	other.JobName = "b"
	address := func(more ...string) model.LabelSet {
		ls := model.LabelSet{"__address__": "h:1"}
		for i := 0; i < len(more); i += 2 {
			ls[model.LabelName(more[i])] = model.LabelValue(more[i+1])
		}
		return ls
	}
	group := &targetgroup.Group{Source: "1", Labels: model.LabelSet{"g": "h"}, Targets: []model.LabelSet{
		address(), address("__param_module", "y"), address("env", "z"), address("g", "own"),
	}}
	found := map[string][]*targetgroup.Group{"a": {group, nil, {Source: "2"}}, "b": {group}, "unknown": {group}}
	s := newSkips(log.NewNopLogger())
	s.configure([]*config.ScrapeConfig{cfg, &other}, time.Now())

	lb := labels.NewBuilder(labels.EmptyLabels())
	active, failures := scrape.TargetsFromGroup(group, cfg, nil, lb)
	if len(active) != 4 || len(failures) > 0 {
		t.Fatal(active, failures)
	}
	sizes := map[*scrape.Target]uint64{active[0]: smallestSkipped, active[1]: 2 * smallestSkipped, active[2]: smallestSkipped - 1}
	size := func(target *scrape.Target) uint64 { return sizes[target] }
	all := map[string][]*scrape.Target{"a": active}
	at := time.Now()
	skipped := func(samples, scrapes uint64) {
		t.Helper()
		now, n := s.status(at)
		if samples == 0 && len(now) > 0 || samples > 0 && (len(now) == 0 || now[len(now)-1].Samples != samples) || n != scrapes {
			t.Errorf("skipped: %+v, %d scrapes", now, n)
		}
	}

	s.look(delivery.SkipScrapes, at, func() map[string][]*scrape.Target { return all }, size)
	skipped(2*smallestSkipped, 0)
	kept := s.without(found, at)
	if a := kept["a"][0]; len(a.Targets) != 3 || a.Targets[0]["__param_module"] != "" || a.Targets[1]["env"] != "z" || a.Source != "1" || a.Labels["g"] != "h" {
		t.Errorf("%+v", a)
	}
	if kept["b"][0] != group || kept["unknown"][0] != group || kept["a"][1] != nil || kept["a"][2] != found["a"][2] || len(group.Targets) != 4 {
		t.Errorf("more was left out: %+v", kept)
	}

	at = at.Add(skipNext) // one scrape was left out
	all["a"] = []*scrape.Target{active[0], active[2], active[3]}
	s.look(delivery.SkipScrapes, at, func() map[string][]*scrape.Target { return all }, size)
	skipped(smallestSkipped, 1)
	at = at.Add(skipNext)
	all["a"] = active[2:]
	s.look(delivery.SkipScrapes, at, func() map[string][]*scrape.Target { return all }, size)
	skipped(smallestSkipped, 4) // the others are small: to skip them would help nobody

	at = at.Add(skipFor)
	s.look(delivery.Relaxed, at, nil, nil)
	skipped(0, 6+4)
	if kept := s.without(found, at); kept["a"][0] != group {
		t.Errorf("%+v", kept["a"][0])
	}
	if len(s.changed) != 1 {
		t.Error("nobody is told to look again")
	}
}

// skipRig is of three targets, two of which are large and skipped.
type skipRig struct {
	*skips

	cfg   *config.ScrapeConfig
	at    time.Time
	small model.LabelSet
	large []model.LabelSet // in the order in which they are skipped
}

func newSkipRig(t *testing.T) *skipRig {
	t.Helper()
	r := &skipRig{skips: newSkips(log.NewNopLogger()), at: time.Now(), cfg: &config.ScrapeConfig{
		JobName: "a", MetricsPath: "/metrics", Scheme: "http",
		ScrapeInterval: model.Duration(10 * time.Second), ScrapeTimeout: model.Duration(time.Second),
	}}
	r.small = model.LabelSet{"__address__": "small:1"}
	r.large = []model.LabelSet{{"__address__": "h:1"}, {"__address__": "h:2"}}
	r.configure([]*config.ScrapeConfig{r.cfg}, r.at)
	group := &targetgroup.Group{Targets: append(r.large, r.small)}
	active, failures := scrape.TargetsFromGroup(group, r.cfg, nil, labels.NewBuilder(labels.EmptyLabels()))
	if len(active) != 3 || len(failures) > 0 {
		t.Fatal(active, failures)
	}
	for _, target := range active[:2] {
		r.at = r.at.Add(skipNext)
		r.look(delivery.SkipScrapes, r.at, func() map[string][]*scrape.Target { return map[string][]*scrape.Target{"a": {target}} },
			func(*scrape.Target) uint64 { return smallestSkipped })
	}
	r.targets[0].from = r.at // so that both have skipped nothing so far
	return r
}

// give hands on what discovery gives, in a group for each target, and returns how many
// targets are kept.
func (r *skipRig) give(targets ...model.LabelSet) (kept int) {
	groups := []*targetgroup.Group{}
	for _, target := range targets {
		groups = append(groups, &targetgroup.Group{Source: string(target["__address__"]), Targets: []model.LabelSet{target}})
	}
	for _, group := range r.without(map[string][]*targetgroup.Group{"a": groups}, r.at)["a"] {
		kept += len(group.Targets)
	}
	return kept
}

// is checks what is told of the skipped targets, and how many of them are remembered.
func (r *skipRig) is(t *testing.T, listed int, scrapes uint64, remembered int) {
	t.Helper()
	skipped, n := r.status(r.at)
	if len(skipped) != listed || n != scrapes || r.pace.skipped != remembered || len(r.targets) != remembered {
		t.Errorf("%d listed, %d scrapes, pace of %d, %d remembered; expected %d, %d, %d", len(skipped), n, r.pace.skipped, len(r.targets), listed, scrapes, remembered)
	}
}

// pass lets time go by, with so much memory in use that all stays as it is.
func (r *skipRig) pass(d time.Duration) {
	r.at = r.at.Add(d)
	r.look(delivery.SmallBatches, r.at, nil, nil)
}

// TestSkipsOfWhatIsGone: a skipped target that discovery does not give is told no
// more, and none of its scrapes is counted. It is skipped on when it was away for a
// moment, and forgotten when it stays away.
func TestSkipsOfWhatIsGone(t *testing.T) {
	t.Parallel()
	const s = time.Second
	r := newSkipRig(t)
	all := append(r.large, r.small)
	give := func(want int, targets ...model.LabelSet) {
		t.Helper()
		if kept := r.give(targets...); kept != want {
			t.Errorf("%d targets kept, expected %d", kept, want)
		}
	}
	give(1, all...)
	r.pass(25 * s)
	r.is(t, 2, 2+2, 2)
	give(0) // discovery is silent
	r.is(t, 0, 4, 2)
	r.pass(skipGrace - s)
	give(0)
	r.is(t, 0, 4, 2)
	give(1, all...)
	r.is(t, 2, 4, 2)
	r.pass(10 * s)
	give(1, all...) // which does not take anything from what is counted
	r.pass(5 * s)
	r.pass(5 * s)
	r.is(t, 2, 4+4, 2)

	give(1, r.large[1], r.small)
	r.pass(10 * s)
	r.is(t, 1, 9, 2)
	r.pass(skipGrace)
	r.is(t, 1, 9+6, 1)
	give(2, all...) // it is back after too long a time: memory may be enough now
	r.is(t, 1, 15, 1)

	r.pass(5 * s)
	give(2, r.large[0], r.small)
	r.pass(skipGrace)
	r.is(t, 0, 15, 0)
	if !r.pace.released.Equal(r.at) {
		t.Errorf("%+v", r.pace)
	}
	give(3, all...)
}

// TestSkipsOfGoneJobs: what was skipped of a job that the configuration has no more is
// forgotten at once.
func TestSkipsOfGoneJobs(t *testing.T) {
	t.Parallel()
	r := newSkipRig(t)
	r.give(append(r.large, r.small)...)
	r.pass(25 * time.Second)
	other := *r.cfg
	other.JobName = "b"
	r.configure([]*config.ScrapeConfig{r.cfg, &other}, r.at)
	r.is(t, 2, 4, 2)
	r.configure([]*config.ScrapeConfig{&other}, r.at)
	r.is(t, 0, 4, 0)
	r.pass(time.Hour)
	r.is(t, 0, 4, 0)
}

// TestSkipsOutliveIntervals: how often a job is scraped does not tell its targets
// apart, and scrapes are counted by what holds.
func TestSkipsOutliveIntervals(t *testing.T) {
	t.Parallel()
	const s = time.Second
	r := newSkipRig(t)
	all := append(r.large, r.small)
	for i, c := range []struct {
		interval, timeout time.Duration
		relabel           string // to another interval
		kept, listed      int
		scrapes           uint64 // after a minute
	}{
		{10 * s, s, "", 1, 2, 2 * 6},
		{20 * s, s, "", 1, 2, 2 * 3},
		{20 * s, 5 * s, "", 1, 2, 2 * 3},
		{20 * s, 5 * s, "30s", 1, 2, 2 * 2},
		{s, 5 * s, "", 3, 0, 0}, // upstream refuses these targets, and tells
		{5 * s, 5 * s, "", 1, 2, 2 * 12},
	} {
		cfg := *r.cfg
		cfg.ScrapeInterval, cfg.ScrapeTimeout = model.Duration(c.interval), model.Duration(c.timeout)
		if c.relabel != "" {
			cfg.RelabelConfigs = []*relabel.Config{{
				Action: relabel.Replace, Regex: relabel.MustNewRegexp("(.*)"), Separator: ";", NameValidationScheme: model.UTF8Validation,
				TargetLabel: model.ScrapeIntervalLabel, Replacement: c.relabel,
			}}
		}
		r.configure([]*config.ScrapeConfig{&cfg}, r.at)
		if kept := r.give(all...); kept != c.kept {
			t.Errorf("line %d: %d targets kept, expected %d", i, kept, c.kept)
		}
		_, before := r.status(r.at)
		r.at = r.at.Add(59 * s)
		r.give(all...)
		r.at = r.at.Add(s)
		if listed, scrapes := r.status(r.at); len(listed) != c.listed || scrapes-before != c.scrapes {
			t.Errorf("line %d: %d listed, %d scrapes", i, len(listed), scrapes-before)
		}
	}
}
