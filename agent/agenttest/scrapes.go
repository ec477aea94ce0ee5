package agenttest

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Scrapes compares the scrapes that a target answered with what is stored of
// them. Ordinals are ascending and without repetition.
type Scrapes struct {
	Target   string
	Answered int // scrapes that were asked about
	Stored   int // of them, those that are stored
	// Newest ordinal that is stored, 0 if none.
	Newest int64
	// Missing were answered and are not stored.
	Missing []int64
	// MissingSamples are what is not stored of those scrapes, at least: one for each series
	// of which others are stored, and one where none is.
	MissingSamples int
	// Repeated are stored with more than one timestamp.
	Repeated []int64
	// Disordered are stored behind a later scrape in the order of time.
	Disordered []int64
	// Unknown values are stored and are no scrape's.
	Unknown []float64
}

// Err is nil if every scrape is there exactly once and in order.
func (s Scrapes) Err() error {
	var errs []error
	add := func(what string, n int, list any) {
		if n > 0 {
			errs = append(errs, fmt.Errorf("target %s: %d of %d scrapes %s: %.200s", s.Target, n, s.Answered, what, fmt.Sprint(list)))
		}
	}
	add("missing", len(s.Missing), s.Missing)
	add("repeated", len(s.Repeated), s.Repeated)
	add("out of order", len(s.Disordered), s.Disordered)
	add("unknown", len(s.Unknown), s.Unknown)
	if s.Answered == 0 {
		errs = append(errs, fmt.Errorf("target %s: no scrape was answered", s.Target))
	}
	return errors.Join(errs...)
}

// Gaps are the missing scrapes before the newest that is stored; the other
// missing ones may still be on their way.
func (s Scrapes) Gaps() (gaps []int64) {
	for _, ordinal := range s.Missing {
		if ordinal < s.Newest {
			gaps = append(gaps, ordinal)
		}
	}
	return gaps
}

// Scrapes asks about the scrapes that a target answered before a time, or all
// if that is zero. The metric is ScrapesMetric if empty. Series of the metric
// that differ in other labels than series, such as external labels that were
// changed, count as one; one that lacks a scrape which others have makes it
// missing. That makes no sense for a metric whose series come and go.
func (s *Snapshot) Scrapes(t *Target, metric string, before time.Time) Scrapes {
	if metric == "" {
		metric = ScrapesMetric
	}
	result := Scrapes{Target: t.Name}
	// What was answered is read before what is stored, and what was begun
	// after it: a scrape on its way is neither missing nor unknown.
	answered := t.Answered()
	series := s.Series(
		labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, metric),
		labels.MustNewMatcher(labels.MatchEqual, "target", t.Name),
	)
	begun := t.begun()
	groups := map[string]map[int64]int{}
	for _, stored := range series {
		group := groups[stored.Labels.Get("series")]
		if group == nil {
			group = map[int64]int{}
			groups[stored.Labels.Get("series")] = group
		}
		result.read(stored, begun, group)
	}
	for _, scrape := range answered {
		if before.IsZero() || scrape.At.Before(before) {
			result.Answered++
			result.judge(scrape.Ordinal, groups)
		}
	}
	return result
}

// read enters the scrapes of one stored series into those of its group.
func (s *Scrapes) read(stored Series, begun int64, group map[int64]int) {
	newest := int64(0)
	for _, sample := range stored.Samples {
		ordinal, ok := ordinalOf(sample)
		switch {
		case !ok:
			continue
		case ordinal < 1 || ordinal > begun:
			s.Unknown = append(s.Unknown, sample.V)
			continue
		case ordinal < newest:
			s.Disordered = append(s.Disordered, ordinal)
		}
		group[ordinal]++
		newest = max(newest, ordinal)
	}
	s.Newest = max(s.Newest, newest)
}

func (s *Scrapes) judge(ordinal int64, groups map[string]map[int64]int) {
	missing, most := 0, 0
	for _, group := range groups {
		most = max(most, group[ordinal])
		if group[ordinal] == 0 {
			missing++
		}
	}
	if len(groups) == 0 || missing > 0 {
		s.Missing = append(s.Missing, ordinal)
		s.MissingSamples += max(1, missing)
	} else {
		s.Stored++
	}
	if most > 1 {
		s.Repeated = append(s.Repeated, ordinal)
	}
}

// ordinalOf reads the scrape from a sample's value; a stale marker has none.
func ordinalOf(s Sample) (int64, bool) {
	switch {
	case s.H != nil:
		return int64(s.H.Count), !value.IsStaleNaN(s.H.Sum)
	case s.FH != nil:
		return int64(s.FH.Count), !value.IsStaleNaN(s.FH.Sum)
	default:
		return int64(s.V), !math.IsNaN(s.V)
	}
}
