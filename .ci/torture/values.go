package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/prometheus/model/value"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func example(metric, target string, what any) string {
	return fmt.Sprintf("%s of %s: %v", metric, target, what)
}

// gaugeStep is between the values of two gauges of one scrape (agenttest).
const gaugeStep = 1.0 / (1 << 20)

// wrongValues are stored samples that no target can have shown: of a scrape every value
// follows from its ordinal and from the series.
func wrongValues(stored []agenttest.Series) (wrong []string) {
	for _, s := range stored {
		for _, sample := range s.Samples {
			if why := wrongValue(s, sample); why != "" {
				wrong = append(wrong, fmt.Sprintf("%s at %d: %s", s.Labels, sample.T, why))
			}
		}
	}
	return wrong
}

func wrongValue(s agenttest.Series, sample agenttest.Sample) string {
	name := s.Labels.Get("__name__")
	switch {
	case sample.H != nil:
		if !value.IsStaleNaN(sample.H.Sum) && sample.H.Sum != float64(sample.H.Count)/4 {
			return fmt.Sprintf("a histogram of %d observations with the sum %g", sample.H.Count, sample.H.Sum)
		}
	case sample.FH != nil:
		if !value.IsStaleNaN(sample.FH.Sum) && sample.FH.Sum != sample.FH.Count/4 {
			return fmt.Sprintf("a histogram of %g observations with the sum %g", sample.FH.Count, sample.FH.Sum)
		}
	case math.IsNaN(sample.V):
		if !value.IsStaleNaN(sample.V) {
			return "a NaN that marks no end"
		}
	case name == gauges:
		i, err := strconv.Atoi(s.Labels.Get("series"))
		if rest := sample.V - math.Trunc(sample.V); err != nil || rest != float64(i)*gaugeStep {
			return fmt.Sprintf("%v", sample.V)
		}
	case name == agenttest.ScrapesMetric:
		if sample.V != math.Trunc(sample.V) {
			return fmt.Sprintf("%v", sample.V)
		}
	case name == "up":
		if sample.V != 0 && sample.V != 1 {
			return fmt.Sprintf("%v", sample.V)
		}
	}
	return ""
}

// missingOnce are samples of series that only one scrape shows, so many of each scrape, of
// scrapes that were answered, and are not stored.
func missingOnce(ofEach int, answered []agenttest.Scrape, stored []agenttest.Series) (missing int) {
	there := map[int64]int{}
	for _, series := range stored {
		for _, sample := range series.Samples {
			if !math.IsNaN(sample.V) { // which marks its end
				there[int64(sample.V)]++
			}
		}
	}
	for _, scrape := range answered {
		missing += max(0, ofEach-there[scrape.Ordinal])
	}
	return missing
}
