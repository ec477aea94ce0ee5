package agent

import (
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
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
	s.configure([]*config.ScrapeConfig{cfg, &other})

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
	kept := s.without(found)
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
	if kept := s.without(found); kept["a"][0] != group {
		t.Errorf("%+v", kept["a"][0])
	}
	if len(s.changed) != 1 {
		t.Error("nobody is told to look again")
	}
}
