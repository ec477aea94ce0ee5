package main

import (
	"slices"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// second is what the endpoint saw in one second.
type second struct {
	requests, refused int
	samples           int // taken
	bytes             int // compressed
}

// seconds sorts what began in [from, to) by the second after from.
func seconds(requests []agenttest.Request, from, to time.Time) []second {
	n := int((to.Sub(from) + time.Second - 1) / time.Second)
	all := make([]second, max(n, 0))
	for _, r := range requests {
		if r.At.Before(from) || !r.At.Before(to) {
			continue
		}
		s := &all[int(r.At.Sub(from)/time.Second)]
		s.requests++
		s.bytes += r.Bytes
		switch {
		case refused(r.Status):
			s.refused++
		case r.Status/100 == 2:
			s.samples += r.Samples
		}
	}
	return all
}

// herd is how unevenly something came.
type herd struct{ total, peak int }

// herdOf sums up a figure of all seconds.
func herdOf(all []second, figure func(second) int) (h herd) {
	for _, s := range all {
		h.total += figure(s)
		h.peak = max(h.peak, figure(s))
	}
	return h
}

// mean is by second.
func (h herd) mean(seconds int) float64 { return float64(h.total) / float64(max(seconds, 1)) }

// peakToMean is 1 for what comes evenly, and as many as there are seconds for what all
// comes in one of them; 0 where nothing came.
func (h herd) peakToMean(seconds int) float64 {
	if h.total == 0 {
		return 0
	}
	return float64(h.peak) / h.mean(seconds)
}

// delays are of samples between scrape and arrival.
type delays []time.Duration

// add takes those of the samples that were scraped in [from, to).
func (d delays) add(samples []agenttest.Sample, from, to time.Time) delays {
	for _, s := range samples {
		if at := time.UnixMilli(s.T); !at.Before(from) && at.Before(to) {
			d = append(d, s.At.Sub(at))
		}
	}
	return d
}

// quantile is the least that so many percent do not exceed; 0 of nothing.
func (d delays) quantile(percent int) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[max(0, (len(sorted)*percent+99)/100-1)]
}

// firstAfter is how long after a moment the first of some samples arrived; false: none.
func firstAfter(samples []agenttest.Sample, at time.Time) (time.Duration, bool) {
	first, found := time.Duration(0), false
	for _, s := range samples {
		if d := s.At.Sub(at); d >= 0 && (!found || d < first) {
			first, found = d, true
		}
	}
	return first, found
}
