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
