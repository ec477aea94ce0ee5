package agenttest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Query evaluates an expression of PromQL at a time over the samples that are stored and
// kept. Series of two tenants that have the same labels are an error.
func (s *Snapshot) Query(ctx context.Context, expr string, at time.Time) (promql.Vector, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
	defer func() { _ = engine.Close() }()
	query, err := engine.NewInstantQuery(ctx, queryable{s}, nil, expr, at)
	if err != nil {
		return nil, fmt.Errorf("cannot read the query: %w", err)
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, fmt.Errorf("cannot evaluate the query: %w", result.Err)
	}
	if scalar, is := result.Value.(promql.Scalar); is {
		return promql.Vector{{T: scalar.T, F: scalar.V}}, nil
	}
	vector, err := result.Vector()
	return slices.Clone(vector), err
}

// queryable implements storage.Queryable.
type queryable struct{ *Snapshot }

// Querier implements storage.Queryable.
func (q queryable) Querier(from, to int64) (storage.Querier, error) {
	return querier{q.Snapshot, from, to}, nil
}

type querier struct {
	*Snapshot

	from, to int64
}

// Select implements storage.Querier.
func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, s := range q.Series(matchers...) {
		var of []chunks.Sample
		for _, v := range s.Samples {
			if v.T >= q.from && v.T <= q.to {
				of = append(of, chunkSample{v})
			}
		}
		if len(of) > 0 {
			found = append(found, storage.NewListSeries(s.Labels, of))
		}
	}
	slices.SortFunc(found, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	return &seriesSet{series: found}
}

// LabelValues implements storage.Querier.
func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// LabelNames implements storage.Querier.
func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

// Close implements storage.Querier.
func (querier) Close() error { return nil }

// seriesSet implements storage.SeriesSet.
type seriesSet struct {
	series []storage.Series
	at     storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.series) == 0 {
		return false
	}
	s.at, s.series = s.series[0], s.series[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return s.at }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// chunkSample implements chunks.Sample.
type chunkSample struct{ s Sample }

func (c chunkSample) ST() int64                     { return 0 }
func (c chunkSample) T() int64                      { return c.s.T }
func (c chunkSample) F() float64                    { return c.s.V }
func (c chunkSample) H() *histogram.Histogram       { return c.s.H }
func (c chunkSample) FH() *histogram.FloatHistogram { return c.s.FH }
func (c chunkSample) Copy() chunks.Sample           { return c }
func (c chunkSample) Type() chunkenc.ValueType {
	switch {
	case c.s.H != nil:
		return chunkenc.ValHistogram
	case c.s.FH != nil:
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}
