package main

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func TestWrongValue(t *testing.T) {
	t.Parallel()
	stale := math.Float64frombits(value.StaleNaN)
	for name, c := range map[string]struct {
		metric, series string
		sample         agenttest.Sample
		wrong          bool
	}{
		"gauge":             {gauges, "00003", agenttest.Sample{V: 17 + 3*gaugeStep}, false},
		"another's":         {gauges, "00003", agenttest.Sample{V: 17 + 2*gaugeStep}, true},
		"rounded":           {gauges, "00003", agenttest.Sample{V: float64(float32(1<<20 + 3*gaugeStep))}, true},
		"counter":           {agenttest.ScrapesMetric, "", agenttest.Sample{V: 17}, false},
		"half a scrape":     {agenttest.ScrapesMetric, "", agenttest.Sample{V: 17.5}, true},
		"end":               {gauges, "00003", agenttest.Sample{V: stale}, false},
		"a NaN":             {gauges, "00003", agenttest.Sample{V: math.NaN()}, true},
		"up":                {"up", "", agenttest.Sample{V: 1}, false},
		"half up":           {"up", "", agenttest.Sample{V: 0.5}, true},
		"histogram":         {histograms, "", agenttest.Sample{H: &histogram.Histogram{Count: 8, Sum: 2}}, false},
		"another sum":       {histograms, "", agenttest.Sample{H: &histogram.Histogram{Count: 8, Sum: 3}}, true},
		"float histogram":   {floatHistograms, "", agenttest.Sample{FH: &histogram.FloatHistogram{Count: 8, Sum: 2}}, false},
		"end of histograms": {histograms, "", agenttest.Sample{H: &histogram.Histogram{Sum: stale}}, false},
	} {
		s := agenttest.Series{Labels: labels.FromStrings("__name__", c.metric, "series", c.series), Samples: []agenttest.Sample{c.sample}}
		if got := wrongValues([]agenttest.Series{s}); (len(got) > 0) != c.wrong {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestMissingOnce(t *testing.T) {
	t.Parallel()
	stale := math.Float64frombits(value.StaleNaN)
	of := func(values ...float64) (s agenttest.Series) {
		for _, v := range values {
			s.Samples = append(s.Samples, agenttest.Sample{V: v})
		}
		return s
	}
	answered := []agenttest.Scrape{{Ordinal: 1}, {Ordinal: 3}}
	for name, c := range map[string]struct {
		stored []agenttest.Series
		want   int
	}{
		"all":            {[]agenttest.Series{of(1), of(1+gaugeStep, stale), of(2), of(3, stale), of(3 + gaugeStep)}, 0},
		"one is missing": {[]agenttest.Series{of(1), of(1 + gaugeStep), of(3)}, 1},
		"only its end":   {[]agenttest.Series{of(1), of(1 + gaugeStep), of(3), of(stale)}, 1},
		"nothing":        {nil, 4},
	} {
		if got := missingOnce(2, answered, c.stored); got != c.want {
			t.Errorf("%s: %d", name, got)
		}
	}
	if got := missingOnce(0, answered, nil); got != 0 {
		t.Errorf("%d of a target without any", got)
	}
}
