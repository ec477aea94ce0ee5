package targetcheck

import (
	"fmt"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
)

// tally is the appender of one scrape.
type tally struct {
	round   *round
	target  *scrape.Target
	refs    storage.SeriesRef
	builder *labels.Builder
	batches []*batch // by destination
	// appended counts all, taken only those before the scrape's own.
	appended, taken int
	scraped, kept   int
	dropped         map[string]int // by reason
}

func newTally(r *round, t *scrape.Target) *tally {
	a := &tally{round: r, target: t, builder: labels.NewBuilder(labels.EmptyLabels()), dropped: map[string]int{}}
	for _, rw := range r.cfg.RemoteWriteConfigs {
		a.batches = append(a.batches, newBatch(rw, r.options.EnableTypeAndUnitLabels))
	}
	return a
}

// A scrape reports about itself after everything else: up, its duration, and
// then these two, whose names a target may use as well.
const (
	scrapedMetric = "scrape_samples_scraped"
	keptMetric    = "scrape_samples_post_metric_relabeling"
	reportsBefore = 2
)

// Append counts a sample for every destination as upstream's queue would treat
// it, if the agent and its storage would take it.
func (a *tally) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if reason := a.round.limits.Refuse(ls); reason != "" {
		a.dropped[reason]++
		return 0, storage.ErrDuplicateSampleForTimestamp // as the agent answers: the others of the scrape go on
	}
	if err := invalid(ls, h, fh); err != nil {
		return 0, err
	}
	switch ls.Get(model.MetricNameLabel) {
	case scrapedMetric:
		a.scraped, a.taken = int(v), a.appended-reportsBefore
	case keptMetric:
		a.kept = int(v)
	}
	a.appended++
	for _, b := range a.batches {
		lset, keep := selection.ExternalAndRelabelled(a.builder, ls, a.round.cfg.GlobalConfig.ExternalLabels, b.rw.WriteRelabelConfigs)
		if !keep {
			b.send.Dropped++
			continue
		}
		it := remotewrite.Item{Series: &remotewrite.Series{Labels: lset}, T: t, V: v}
		switch {
		case h != nil:
			it.Kind, it.H = remotewrite.HistogramSample, h
		case fh != nil:
			it.Kind, it.FH = remotewrite.FloatHistogramSample, fh
		}
		if err := b.add(it, opts.Exemplars); err != nil {
			return 0, err
		}
	}
	a.refs++ // Two series with one reference would confuse the scrape's cache.
	return a.refs, nil
}

// invalid is what upstream's agent.DB refuses, and with it the scrape; a test holds
// it against that.
func invalid(ls labels.Labels, h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	switch {
	case fh != nil && fh.Validate() != nil:
		return fh.Validate()
	case h != nil && h.Validate() != nil:
		return h.Validate()
	}
	ls = ls.WithoutEmpty()
	if ls.IsEmpty() {
		return fmt.Errorf("empty labelset: %w", tsdb.ErrInvalidSample)
	}
	if name, twice := ls.HasDuplicateLabelNames(); twice {
		return fmt.Errorf("label name %q is not unique: %w", name, tsdb.ErrInvalidSample)
	}
	return nil
}

// Commit ends a scrape. Its outcome has been reported to the target before.
func (a *tally) Commit() error {
	result := &Target{
		Err:     a.target.LastError(),
		Took:    a.target.LastScrapeDuration(),
		Scraped: a.scraped,
		Kept:    a.kept,
		Dropped: a.dropped,
	}
	result.series, result.reported = a.taken, a.appended-a.taken
	if result.Err == nil {
		result.NotTaken = a.kept - a.taken
		for _, n := range a.dropped {
			result.NotTaken -= n
		}
	}
	for _, b := range a.batches {
		if err := b.flush(); err != nil {
			return err
		}
		result.Sends = append(result.Sends, b.send)
	}
	a.round.finish(a.target, result)
	return nil
}

func (a *tally) Rollback() error { return nil }
