package agenttest

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"golang.org/x/time/rate"
)

// maxAhead is Cortex' creation grace period.
const maxAhead = 10 * time.Minute

// bounds are the times that a request's samples must not lie before, fixed
// when the request begins.
type bounds struct {
	min           int64
	outOfOrder    bool
	minOutOfOrder int64
	refuseAgain   bool // see Manners
}

// pending is one sample of a request and what is decided about it; no reason
// means that it is to be stored.
type pending struct {
	s      *series
	t      int64
	v      sampleValue
	reason Reason
}

// refusal is a sample that was not stored.
type refusal struct {
	pending
	there bool // it was stored already, with the same value
	at    time.Time
}

// tenant is what one tenant has sent.
type tenant struct {
	name     string
	keep     func(labels.Labels) bool
	index    map[string]*series
	series   []*series
	newest   int64 // math.MinInt64 while there is no sample
	metadata map[string]metadata.Metadata
	refusals []refusal
	counters Counters

	// Used again by each request; nothing here outlives one.
	key      []byte
	pending  []pending
	seriesOf []*series // by index in the request, nil where the labels are bad
}

func newTenant(name string, keep func(labels.Labels) bool) *tenant {
	return &tenant{
		name:     name,
		keep:     keep,
		index:    map[string]*series{},
		newest:   math.MinInt64,
		metadata: map[string]metadata.Metadata{},
		counters: Counters{Refused: map[Reason]int64{}, Answers: map[int]Tally{}},
	}
}

// sifted sums up what is in a request, beside the pending samples.
type sifted struct {
	samples, exemplars int    // of series that the distributor takes
	complaint          string // about the first series that it does not take
	refused            int    // pending samples with a reason
}

// write takes a request as Cortex does: the distributor looks at labels, times
// ahead and the rate, the ingester at the order; good samples are stored
// whatever the answer is.
func (t *tenant) write(in *Incoming, m Manners, limiter *rate.Limiter) Answer {
	found := t.sift(in, m)
	if n := found.samples + found.exemplars + len(in.Write.Metadata); limiter != nil && n > 0 && !limiter.AllowN(in.At, n) {
		return Answer{
			Status: http.StatusServiceUnavailable,
			Body: fmt.Sprintf("429-to-503: ingestion rate limit (%v) exceeded while adding %d samples and %d metadata\n",
				float64(limiter.Limit()), found.samples, len(in.Write.Metadata)),
		}
	}
	answer := t.verdict(found, m)
	if m.AllOrNothing && found.refused > 0 {
		for i := range t.pending {
			if t.pending[i].reason == "" {
				t.pending[i].reason = WithOthers
			}
		}
		found.exemplars = 0
	}
	stats := t.commit(in.At, m.OutOfOrderWindow > 0)
	if found.exemplars > 0 {
		stats.Exemplars = t.addExemplars(in.Write)
	}
	for _, md := range in.Write.Metadata {
		t.metadata[md.MetricFamilyName] = metadata.Metadata{
			Type: model.MetricType(strings.ToLower(md.Type.String())), Unit: md.Unit, Help: md.Help,
		}
	}
	if in.Version == version2 && m.RemoteWrite2 == AcceptRemoteWrite2 {
		answer.written = &stats
	}
	return answer
}

// sift decides about every sample of a request and changes nothing but the
// list of known series.
func (t *tenant) sift(in *Incoming, m Manners) sifted {
	var found sifted
	t.pending, t.seriesOf = t.pending[:0], t.seriesOf[:0]
	latest := in.At.Add(maxAhead).UnixMilli()
	b, bounded := bounds{}, false
	for i := range in.Write.Timeseries {
		ts := &in.Write.Timeseries[i]
		s := t.lookup(ts.Labels)
		reason, complaint := distributor(s, ts, latest)
		if reason != "" {
			t.seriesOf = append(t.seriesOf, nil)
			if found.complaint == "" {
				found.complaint = complaint
			}
		} else {
			t.seriesOf = append(t.seriesOf, s)
			found.samples += len(ts.Samples) + len(ts.Histograms)
			found.exemplars += len(ts.Exemplars)
		}
		if first, ok := firstTime(ts); ok && !bounded && reason == "" {
			b, bounded = t.bounds(m, first), true
		}
		for _, sample := range ts.Samples {
			t.ponder(s, sample.Timestamp, sampleValue{f: sample.Value}, reason, b)
		}
		for _, h := range ts.Histograms {
			v, err := histogramValue(h)
			if r := reason; r == "" && err != nil {
				t.ponder(s, h.Timestamp, v, BadHistogram, b)
			} else {
				t.ponder(s, h.Timestamp, v, r, b)
			}
		}
	}
	for i := range t.pending {
		if t.pending[i].reason != "" {
			found.refused++
		}
	}
	return found
}

func (t *tenant) ponder(s *series, at int64, v sampleValue, reason Reason, b bounds) {
	if reason == "" {
		reason = s.check(at, v, b)
	}
	if reason == "" && b.refuseAgain && s.count > 0 && at == s.last {
		reason = OutOfOrder
	}
	t.pending = append(t.pending, pending{s: s, t: at, v: v, reason: reason})
}

// distributor says why Cortex' distributor drops all that a request has for a
// series, and how it complains; one sample too far ahead takes its series'
// other samples with it.
func distributor(s *series, ts *prompb.TimeSeries, latest int64) (Reason, string) {
	if s.bad != "" {
		return BadLabels, s.bad
	}
	tooNew := func(t int64) (Reason, string) {
		return TooNew, fmt.Sprintf("timestamp too new: %d metric: %.200q", t, s.labels.Get(model.MetricNameLabel))
	}
	for i := range ts.Samples {
		if at := ts.Samples[i].Timestamp; at > latest {
			return tooNew(at)
		}
	}
	for i := range ts.Histograms {
		if at := ts.Histograms[i].Timestamp; at > latest {
			return tooNew(at)
		}
	}
	return "", ""
}

// bounds are relative to the tenant's newest sample, whoever wrote it; in an
// empty TSDB to the first sample of the first request.
func (t *tenant) bounds(m Manners, first int64) bounds {
	newest := t.newest
	if newest == math.MinInt64 {
		newest = first
	}
	b := bounds{min: math.MinInt64, outOfOrder: m.OutOfOrderWindow > 0, refuseAgain: m.RefuseAgain}
	if m.Window >= 0 {
		b.min = newest - m.Window.Milliseconds()
	}
	if b.outOfOrder {
		b.minOutOfOrder = newest - m.OutOfOrderWindow.Milliseconds()
	}
	return b
}

func (t *tenant) lookup(ls []prompb.Label) *series {
	sortLabels(ls)
	t.key = appendKey(t.key[:0], ls)
	if s, ok := t.index[string(t.key)]; ok {
		return s
	}
	s := &series{labels: toLabels(ls), bad: checkLabels(ls)}
	s.keep = t.keep == nil || t.keep(s.labels)
	t.index[string(t.key)] = s
	t.series = append(t.series, s)
	return s
}

func (t *tenant) commit(at time.Time, outOfOrder bool) (stats remote.WriteResponseStats) {
	for _, p := range t.pending {
		if p.reason != "" {
			t.refuse(p, at)
			continue
		}
		if p.v.h != nil || p.v.fh != nil {
			stats.Histograms++
		} else {
			stats.Samples++
		}
		switch p.s.store(p.t, p.v, at.UnixMilli(), outOfOrder) {
		case storedNew:
			t.counters.Accepted++
			if p.s.count == 1 {
				t.counters.StoredSeries++
			}
			t.newest = max(t.newest, p.t)
		case storedBefore:
			t.counters.Duplicates++
		case storedNot:
			p.reason = Silent
			t.refuse(p, at)
		}
	}
	return stats
}

func (t *tenant) refuse(p pending, at time.Time) {
	there := p.s.has(p.t, p.v)
	if p.reason == Silent {
		t.counters.SilentlyLost++
	} else {
		t.counters.Refused[p.reason]++
	}
	switch {
	case there:
		t.counters.Duplicates++
		t.counters.AlreadyThere++
	case !p.s.keep && p.s.count > 0:
		t.counters.Unknown++
	}
	if !p.s.keep {
		return
	}
	t.refusals = append(t.refusals, refusal{pending: p, there: there, at: at})
}

func (t *tenant) addExemplars(req *prompb.WriteRequest) (added int) {
	b := labels.NewScratchBuilder(2)
	for i, s := range t.seriesOf {
		if s == nil {
			continue
		}
		for _, e := range req.Timeseries[i].Exemplars {
			added++
			if s.addExemplar(e.ToExemplar(&b, nil)) {
				t.counters.Exemplars++
			} else {
				t.counters.DuplicateExemplars++
			}
		}
	}
	return added
}

// verdict words the answer. Cortex names one sample only, and the ingester's
// complaint before the distributor's.
func (t *tenant) verdict(found sifted, m Manners) Answer {
	if found.refused == 0 && found.complaint == "" {
		if m.AllOrNothing {
			return Answer{Status: http.StatusNoContent}
		}
		return Answer{Status: http.StatusOK}
	}
	answer := Answer{Status: http.StatusBadRequest, Body: found.complaint}
	for _, p := range t.pending {
		if cause := ingesterError(p.reason); cause != nil {
			answer.Body = fmt.Sprintf("user=%s: err: %v. timestamp=%s, series=%s", t.name, cause,
				time.UnixMilli(p.t).UTC().Format(time.RFC3339Nano), p.s.labels)
			if m.AllOrNothing {
				answer.Body = cause.Error()
			}
			break
		}
	}
	answer.Body += "\n"
	return answer
}

func ingesterError(r Reason) error {
	switch r {
	case OutOfOrder:
		return storage.ErrOutOfOrderSample
	case Duplicate:
		return storage.ErrDuplicateSampleForTimestamp
	case OutOfBounds:
		return storage.ErrOutOfBounds
	case TooOld:
		return storage.ErrTooOldSample
	case BadHistogram:
		return errBadHistogram
	default:
		return nil
	}
}
