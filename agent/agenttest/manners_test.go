package agenttest

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func math64(bits uint64) float64 { return math.Float64frombits(bits) }

const hour = 3600_000.0

// refusalCase is what becomes of a request after another one.
type refusalCase struct {
	manners Manners
	before  []prompb.TimeSeries
	write   []prompb.TimeSeries
	err     string // after "server returned HTTP status 400 Bad Request: "
	refused map[Reason]int64
	there   int64
	silent  int64
	lost    int
	dups    int64
	stored  map[string][]float64
}

var (
	stale  = math64(value.StaleNaN)
	wide   = wideSeries()
	future = float64(time.Now().Add(11 * time.Minute).UnixMilli())
	ahead  = float64(time.Now().Add(9 * time.Minute).UnixMilli())
)

func wideSeries() prompb.TimeSeries {
	series := ts("wide", 9*hour, 1)
	for i := range 29 {
		series.Labels = append(series.Labels, prompb.Label{Name: fmt.Sprintf("l%02d", i), Value: "x"})
	}
	return series
}

func with(name, value string) prompb.TimeSeries {
	series := ts("m", 9*hour, 1)
	series.Labels = append(series.Labels, prompb.Label{Name: name, Value: value})
	return series
}

var refusalCases = map[string]refusalCase{
	"out of order, good samples kept": {
		before:  []prompb.TimeSeries{ts("a", 1000, 1, 3000, 3)},
		write:   []prompb.TimeSeries{ts("a", 2000, 2), ts("b", 2000, 2), ts("a", 4000, 4)},
		err:     `user=default: err: out of order sample. timestamp=1970-01-01T00:00:02Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{OutOfOrder: 1}, lost: 1,
		stored: map[string][]float64{"a": {1000, 1, 3000, 3, 4000, 4}, "b": {2000, 2}},
	},
	"only one series is named": {
		before:  []prompb.TimeSeries{ts("a", 3000, 1), ts("b", 3000, 1)},
		write:   []prompb.TimeSeries{ts("a", 2000, 2), ts("b", 2000, 2)},
		err:     `user=default: err: out of order sample. timestamp=1970-01-01T00:00:02Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{OutOfOrder: 2}, lost: 2,
	},
	"another value for the newest time": {
		before:  []prompb.TimeSeries{ts("a", 1000, 1)},
		write:   []prompb.TimeSeries{ts("a", 1000, 2)},
		err:     `user=default: err: duplicate sample for timestamp. timestamp=1970-01-01T00:00:01Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{Duplicate: 1}, lost: 1,
		stored: map[string][]float64{"a": {1000, 1}},
	},
	"replay of the newest sample": {
		before: []prompb.TimeSeries{ts("a", 1000, 1), ts("b", 1000, stale)},
		write:  []prompb.TimeSeries{ts("a", 1000, 1), ts("b", 1000, stale)}, dups: 2,
		stored: map[string][]float64{"a": {1000, 1}},
	},
	"replay of more": {
		before:  []prompb.TimeSeries{ts("a", 1000, 1, 2000, 2)},
		write:   []prompb.TimeSeries{ts("a", 1000, 1, 2000, 2)},
		err:     `user=default: err: out of order sample. timestamp=1970-01-01T00:00:01Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{OutOfOrder: 1}, there: 1, dups: 2,
	},
	"out of order in one request": {
		write: []prompb.TimeSeries{ts("a", 2000, 2, 1000, 1, 3000, 3)}, silent: 1, lost: 1,
		stored: map[string][]float64{"a": {2000, 2, 3000, 3}},
	},
	"out of order in one request, in two pieces": {
		write: []prompb.TimeSeries{ts("a", 2000, 2), ts("a", 1000, 1), ts("a", 2000, 9)}, silent: 2, lost: 2,
		stored: map[string][]float64{"a": {2000, 2}},
	},
	"an hour behind the tenant's newest": {
		before: []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:  []prompb.TimeSeries{ts("b", 8*hour, 1)},
		stored: map[string][]float64{"b": {8 * hour, 1}},
	},
	"more than an hour behind it": {
		before:  []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:   []prompb.TimeSeries{ts("b", 8*hour-1, 1)},
		err:     `user=default: err: out of bounds. timestamp=1970-01-01T07:59:59.999Z, series={__name__="b", job="j"}`,
		refused: map[Reason]int64{OutOfBounds: 1}, lost: 1,
	},
	"the window is fixed when the request begins": {
		before: []prompb.TimeSeries{ts("a", 1*hour, 1)},
		write:  []prompb.TimeSeries{ts("a", 9*hour, 1), ts("b", 1*hour, 1)},
		stored: map[string][]float64{"a": {1 * hour, 1, 9 * hour, 1}, "b": {1 * hour, 1}},
	},
	"the first sample of all sets the window": {
		write:   []prompb.TimeSeries{ts("a", 9*hour, 1), ts("b", 7*hour, 1)},
		err:     `user=default: err: out of bounds. timestamp=1970-01-01T07:00:00Z, series={__name__="b", job="j"}`,
		refused: map[Reason]int64{OutOfBounds: 1}, lost: 1,
	},
	"no window": {
		manners: Manners{Window: -1},
		before:  []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:   []prompb.TimeSeries{ts("b", 1*hour, 1)},
		stored:  map[string][]float64{"b": {1 * hour, 1}},
	},
	"out-of-order window": {
		manners: Manners{OutOfOrderWindow: 2 * time.Hour},
		before:  []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:   []prompb.TimeSeries{ts("a", 8*hour, 2), ts("b", 7*hour, 1), ts("b", 7*hour, 1)}, dups: 1,
		stored: map[string][]float64{"a": {8 * hour, 2, 9 * hour, 1}, "b": {7 * hour, 1}},
	},
	"before the out-of-order window": {
		manners: Manners{OutOfOrderWindow: 2 * time.Hour},
		before:  []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:   []prompb.TimeSeries{ts("a", 7*hour-1, 2)},
		err:     `user=default: err: too old sample. timestamp=1970-01-01T06:59:59.999Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{TooOld: 1}, lost: 1,
	},
	"a sample too new takes its series with it": {
		write:   []prompb.TimeSeries{ts("a", ahead, 1, future, 2), ts("b", ahead, 1)},
		err:     fmt.Sprintf(`timestamp too new: %.0f metric: "a"`, future),
		refused: map[Reason]int64{TooNew: 2}, lost: 2,
		stored: map[string][]float64{"b": {ahead, 1}},
	},
	"31 labels": {
		write:   []prompb.TimeSeries{wide, ts("a", 9*hour, 1)},
		err:     `series has too many labels (actual: 31, limit: 30) series: 'wide{job="j", l00="x",`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
		stored: map[string][]float64{"a": {9 * hour, 1}, "wide": nil},
	},
	"the ingester complains first": {
		before:  []prompb.TimeSeries{ts("a", 9*hour, 1)},
		write:   []prompb.TimeSeries{wide, ts("a", 9*hour-1, 1)},
		err:     `user=default: err: out of order sample. timestamp=1970-01-01T08:59:59.999Z, series={__name__="a", job="j"}`,
		refused: map[Reason]int64{BadLabels: 1, OutOfOrder: 1}, lost: 2,
	},
	"long label name": {
		write:   []prompb.TimeSeries{with(strings.Repeat("n", 1025), "x")},
		err:     `label name too long: "` + strings.Repeat("n", 200) + `" metric "m{job=`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
	"long label value": {
		write:   []prompb.TimeSeries{with("n", strings.Repeat("v", 2049))},
		err:     `label value too long for metric: "m{job=`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
	"labels at their limits": {
		write:  []prompb.TimeSeries{with(strings.Repeat("n", 1024), strings.Repeat("ü", 1024))},
		stored: map[string][]float64{"m": {9 * hour, 1}},
	},
	"UTF-8 label name": {
		write:   []prompb.TimeSeries{with("größe", "x")},
		err:     `sample invalid label: "größe" metric "m{gr`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
	"UTF-8 metric name": {
		write:   []prompb.TimeSeries{ts("a.b", 9*hour, 1)},
		err:     `sample invalid metric name: "a.b"`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
	"no metric name": {
		write:   []prompb.TimeSeries{{Labels: []prompb.Label{{Name: "a", Value: "b"}}, Samples: []prompb.Sample{{Value: 1}}}},
		err:     `sample missing metric name`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
	"a label twice": {
		write:   []prompb.TimeSeries{with("job", "k")},
		err:     `duplicate label name: "job" metric "m{job=\"j\", job=\"k\"}"`,
		refused: map[Reason]int64{BadLabels: 1}, lost: 1,
	},
}

func TestRefusals(t *testing.T) {
	for name, tc := range refusalCases {
		t.Run(name, func(t *testing.T) {
			e := startEndpoint(t, Options{Manners: tc.manners, PlainHTTP: true})
			s := newSender(t, e)
			require.NoError(t, s.write(tc.before...))
			if err := s.write(tc.write...); tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "server returned HTTP status 400 Bad Request: "+tc.err)
			}
			snap := e.Snapshot()
			if tc.refused == nil {
				tc.refused = map[Reason]int64{}
			}
			require.Equal(t, tc.refused, snap.Refused)
			require.Equal(t, tc.there, snap.AlreadyThere)
			require.Equal(t, tc.silent, snap.SilentlyLost)
			require.Equal(t, tc.dups, snap.Duplicates)
			require.Len(t, snap.Lost(), tc.lost)
			for name, want := range tc.stored {
				require.Equal(t, want, floats(t, snap, name))
			}
			total := int64(0)
			for _, requests := range snap.Requests {
				total += int64(requests.Samples)
			}
			refused := int64(0)
			for _, n := range snap.Refused {
				refused += n
			}
			require.Equal(t, total, snap.Accepted+refused+snap.SilentlyLost+snap.Duplicates-snap.AlreadyThere)
		})
	}
}

func TestAllOrNothing(t *testing.T) {
	e := startEndpoint(t, Options{Manners: Manners{AllOrNothing: true}, PlainHTTP: true})
	s := newSender(t, e)
	require.NoError(t, s.write(ts("a", 9*hour, 1)))
	for reason, bad := range map[Reason]prompb.TimeSeries{
		OutOfOrder: ts("a", 9*hour-1, 1), OutOfBounds: ts("a", 1*hour, 1), Duplicate: ts("a", 9*hour, 2), BadLabels: ts("a.b", 9*hour, 1),
	} {
		before := e.Snapshot()
		require.ErrorContains(t, s.write(ts("b", 9*hour, 1), bad, ts("c", 9*hour, 1)), "400 Bad Request")
		snap := e.Snapshot()
		require.EqualValues(t, 1, snap.Accepted)
		require.Equal(t, before.Refused[reason]+1, snap.Refused[reason])
		require.Equal(t, before.Refused[WithOthers]+2, snap.Refused[WithOthers])
	}
	require.Len(t, e.Snapshot().Lost(), 6, "b and c are lost once each")
	require.NoError(t, s.write(ts("b", 9*hour, 1), ts("c", 9*hour, 1)))
	snap := e.Snapshot()
	require.Len(t, snap.Lost(), 4)
	require.EqualValues(t, 2, snap.Answers[204].Requests)
}

func TestRateLimit(t *testing.T) {
	e := startEndpoint(t, Options{Manners: Manners{RateLimit: 0.001, RateBurst: 2}, PlainHTTP: true})
	s := newSender(t, e)
	err := s.write(ts("a", 1, 1, 2, 1, 3, 1))
	require.EqualError(t, err, "server returned HTTP status 503 Service Unavailable: 429-to-503: "+
		"ingestion rate limit (0.001) exceeded while adding 3 samples and 0 metadata\n")
	require.NoError(t, s.write(ts("a", 1, 1, 2, 1)))
	require.ErrorContains(t, s.write(ts("a", 3, 1)), "429-to-503")
	e.SetManners(Manners{})
	require.NoError(t, s.write(ts("a", 3, 1)))
	snap := e.Snapshot()
	require.EqualValues(t, 3, snap.Accepted)
	require.Empty(t, snap.Refused)
	require.Equal(t, Tally{Requests: 2, Samples: 4}, snap.Answers[503])
}

// TestRequestLimit: the ingress counts requests, whatever is in them.
func TestRequestLimit(t *testing.T) {
	e := startEndpoint(t, Options{Manners: Manners{RequestLimit: 0.001}, PlainHTTP: true})
	s := newSender(t, e)
	require.NoError(t, s.write(ts("a", 1, 1, 2, 1, 3, 1)))
	require.ErrorContains(t, s.write(ts("a", 4, 1)), "429 Too Many Requests")
	e.SetManners(Manners{})
	require.NoError(t, s.write(ts("a", 4, 1)))
	require.Equal(t, Tally{Requests: 1, Samples: 1}, e.Snapshot().Answers[429])
}

func TestKeep(t *testing.T) {
	e := startEndpoint(t, Options{PlainHTTP: true, Keep: func(ls labels.Labels) bool { return ls.Get("__name__") == "kept" }})
	s := newSender(t, e)
	require.NoError(t, s.write(ts("kept", 1, 1, 2, 2), ts("lean", 1, 1, 2, 2)))
	require.Error(t, s.write(ts("kept", 1, 1, 2, 2), ts("lean", 1, 1, 2, 2)))
	snap := e.Snapshot()
	lean := snap.Series(byName("lean"))[0]
	require.Empty(t, lean.Samples)
	require.Equal(t, []float64{2, 1, 2, 3}, []float64{float64(lean.Count), float64(lean.First), float64(lean.Last), lean.Sum})
	require.Equal(t, []float64{1, 1, 2, 2}, floats(t, snap, "kept"))
	require.EqualValues(t, 3, snap.Duplicates)
	require.EqualValues(t, 1, snap.AlreadyThere)
	require.EqualValues(t, 1, snap.Unknown)
	require.Len(t, snap.Refusals(), 1)
	require.Empty(t, snap.Lost())
}

func TestCheckInOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		manners Manners
		writes  [][]prompb.TimeSeries
		err     string
	}{
		"replay": {writes: [][]prompb.TimeSeries{{ts("a", 1, 1, 2, 2)}, {ts("a", 1, 1, 2, 2)}}},
		"refused": {
			writes: [][]prompb.TimeSeries{{ts("a", 2, 2)}, {ts("a", 1, 1)}},
			err:    `{__name__="a", job="j"} at 1: out of order`,
		},
		"silent": {writes: [][]prompb.TimeSeries{{ts("a", 2, 2, 1, 1)}}, err: `{__name__="a", job="j"} at 1: silently lost`},
		"let in": {
			manners: Manners{OutOfOrderWindow: time.Hour},
			writes:  [][]prompb.TimeSeries{{ts("a", 2, 2, 1, 1)}},
			err:     `{__name__="a", job="j"}: 1 samples arrived behind a newer one`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEndpoint(t, Options{Manners: tc.manners, PlainHTTP: true})
			s := newSender(t, e)
			for _, w := range tc.writes {
				_ = s.write(w...)
			}
			if err := e.Snapshot().CheckInOrder(); tc.err == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, tc.err)
			}
		})
	}
}

func TestWaitFor(t *testing.T) {
	e := startEndpoint(t, Options{PlainHTTP: true})
	s := newSender(t, e)
	arrived := make(chan error, 1)
	asked := make(chan struct{}, 100)
	go func() {
		arrived <- e.WaitFor(t.Context(), func(s *Snapshot) bool {
			asked <- struct{}{}
			return s.Accepted == 2 && len(s.Series(byName("b"))) == 1 && s.Tenant(DefaultTenant).StoredSeries == 2
		})
	}()
	<-asked
	require.NoError(t, s.write(ts("a", 1, 1)))
	require.NoError(t, s.write(ts("b", 1, 1)))
	require.NoError(t, <-arrived)

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := e.WaitFor(ctx, func(s *Snapshot) bool { return s.Accepted == 3 })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "2 samples in 2 series, 0 duplicates, 0 silently lost, refused map[], answers 2×200")
}
