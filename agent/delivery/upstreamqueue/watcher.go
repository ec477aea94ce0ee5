package upstreamqueue

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/opstrace/opstrace-agent/agent/seldom"
)

// Upstream's metrics that are relied on.
const (
	currentSegment = "prometheus_wal_watcher_current_segment"
	recordsRead    = "prometheus_wal_watcher_records_read_total"
	samplesDropped = "prometheus_remote_storage_samples_dropped_total"

	// consumer is the label with a queue's name on the metrics of its watcher,
	// remoteName the one on its own metrics.
	consumer   = "consumer"
	remoteName = "remote_name"

	// unknownSeries is the reason for which a queue drops what it has no labels for.
	unknownSeries = "unintentionally_dropped_series"
)

// dropped are the metrics that have unknownSeries among their reasons.
var dropped = []string{
	samplesDropped,
	"prometheus_remote_storage_exemplars_dropped_total",
	"prometheus_remote_storage_histograms_dropped_total",
}

// registered is a collector with the time of its registration.
type registered struct {
	prometheus.Collector

	at time.Time
}

// recorder is the registerer that a remote storage of upstream's gets. It keeps
// the collectors that are registered, by the name of their metric.
type recorder struct {
	*prometheus.Registry

	mtx  sync.Mutex
	seen map[string]registered
}

func newRecorder() *recorder {
	return &recorder{Registry: prometheus.NewRegistry(), seen: map[string]registered{}}
}

// Register implements prometheus.Registerer.
func (r *recorder) Register(c prometheus.Collector) error {
	r.record(c)
	return r.Registry.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

func (r *recorder) record(c prometheus.Collector) {
	now := time.Now()
	descs := make(chan *prometheus.Desc)
	go func() {
		c.Describe(descs)
		close(descs)
	}()
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for d := range descs {
		if name := nameOf(d); name != "" {
			r.seen[name] = registered{c, now}
		}
	}
}

// collectors returns what has been registered so far.
func (r *recorder) collectors() map[string]registered {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return maps.Clone(r.seen)
}

// nameOf is the metric's name in a description. There is no other way to it
// than its String; New notices when that changes.
func nameOf(d *prometheus.Desc) string {
	rest, ok := strings.CutPrefix(d.String(), "Desc{fqName: ")
	if !ok {
		return ""
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return ""
	}
	name, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return name
}

// find returns the collector of a metric of upstream's, and an error when it is
// not there or not of that type.
func find[C prometheus.Collector](seen map[string]registered, name string) (C, error) {
	c, ok := seen[name].Collector.(C)
	if !ok {
		return c, fmt.Errorf("%s does not register %s as a %T, which this agent relies on", upstreamVersion(), name, c)
	}
	return c, nil
}

// upstreamVersion names the Prometheus module that is linked in.
func upstreamVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionOf(info)
}

func versionOf(info *debug.BuildInfo) string {
	const module = "github.com/prometheus/prometheus"
	for _, m := range info.Deps {
		switch {
		case m.Path != module:
		case m.Replace != nil:
			return fmt.Sprintf("%s %s (as %s %s)", module, m.Version, m.Replace.Path, m.Replace.Version)
		default:
			return module + " " + m.Version
		}
	}
	return module + " (of unknown version)"
}

// watcher is what can be seen of the WAL watcher of one queue.
type watcher struct {
	segments prometheus.Gauge
	records  *prometheus.CounterVec

	said *said

	mtx     sync.Mutex
	reached int // the highest segment that it was seen to enter
	again   bool
}

// newWatcher finds the metrics of the watcher of the queue with that name, which
// must be the only one among the collectors.
func newWatcher(seen map[string]registered, name string, said *said) (*watcher, error) {
	gauges, err := find[*prometheus.GaugeVec](seen, currentSegment)
	if err != nil {
		return nil, err
	}
	counters, err := find[*prometheus.CounterVec](seen, recordsRead)
	if err != nil {
		return nil, err
	}
	g, err := gauges.GetMetricWith(prometheus.Labels{consumer: name})
	if err != nil {
		return nil, fmt.Errorf("%s has other labels on %s than this agent relies on: %w", upstreamVersion(), currentSegment, err)
	}
	return &watcher{segments: g, records: counters, said: said, reached: -1}, nil
}

// unknownSeriesOf finds the counters of what a queue drops because it does not
// know its series.
func unknownSeriesOf(seen map[string]registered) ([]prometheus.Counter, error) {
	var counters []prometheus.Counter
	for _, name := range dropped {
		vec, err := find[*prometheus.CounterVec](seen, name)
		if err != nil {
			return nil, err
		}
		c, err := vec.GetMetricWith(prometheus.Labels{"reason": unknownSeries})
		if err != nil {
			return nil, fmt.Errorf("%s has other labels on %s than this agent relies on: %w", upstreamVersion(), name, err)
		}
		counters = append(counters, c)
	}
	return counters, nil
}

// segment is the segment that the watcher is in, -1 when it has not entered one
// that holds anything.
func (w *watcher) segment() int {
	if s := int(valueOf(w.segments)); s > 0 {
		return s
	}
	return -1
}

// begun reports whether the watcher has taken its start time: it has read a
// record, or entered a segment after the first.
func (w *watcher) begun() bool {
	return w.segment() >= 0 || sum(w.records) > 0
}

// seenMark is added to the segment of a watcher that has been looked at. A
// watcher sets its gauge only when it enters a segment, so that a gauge which
// was marked and is not any more has been set again.
const seenMark = 0.25

// begunAgain reports whether the watcher has begun again: it has failed, or it
// has entered a segment that it had been in or behind.
func (w *watcher) begunAgain() bool {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	// The gauge is 0 until a segment is entered, and in the first, empty one.
	if v := valueOf(w.segments); v > 0 && v == math.Trunc(v) {
		w.enter(int(v))
		w.segments.Add(seenMark)
		// If it was set in between, another segment carries the mark.
		if now := valueOf(w.segments); int(now) != int(v) {
			w.enter(int(now))
		}
	}
	return w.again || w.said.failed.Load()
}

func (w *watcher) enter(segment int) {
	w.again = w.again || segment <= w.reached
	w.reached = max(w.reached, segment)
}

// valueOf is the value of a counter or gauge.
func valueOf(metric prometheus.Metric) float64 {
	var m dto.Metric
	if metric.Write(&m) != nil {
		return 0
	}
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

// sum is the sum of all counters of a collector.
func sum(c prometheus.Collector) float64 {
	metrics := make(chan prometheus.Metric)
	go func() {
		c.Collect(metrics)
		close(metrics)
	}()
	var n float64
	for m := range metrics {
		n += valueOf(m)
	}
	return n
}

// What upstream's watcher logs: before it takes its start time, just after, and
// when it has failed, before it begins again.
const (
	watcherStarting  = "Starting WAL watcher"
	watcherReplaying = "Replaying WAL"
	tailingFailed    = "error tailing WAL"
)

// said is what a queue's watcher has logged.
type said struct {
	// failed: the gauge alone can miss a failure, when the watcher has entered
	// segments between two looks and fails in the last of them.
	failed atomic.Bool
	// starting and replaying are between which times the watcher took its start
	// time first; nil as long as it has not said so.
	starting, replaying atomic.Pointer[time.Time]
}

// newListener returns the handler of a queue's log. What upstream says of every request
// is said ever less often: delivery logs trouble once, and sums it up.
func newListener(next slog.Handler, said *said) listener {
	return listener{seldom.New(next,
		batchRetried,
		batchNotSentAgain,
		"we got 2xx status code from the Receiver yet statistics indicate some data was not written; investigation needed",
	), said}
}

// listener hears what a queue logs, and passes everything on, retold where it would be
// untrue.
type listener struct {
	slog.Handler

	said *said
}

// Enabled implements slog.Handler.
func (l listener) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || l.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (l listener) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case tailingFailed:
		l.said.failed.Store(true)
	case watcherStarting:
		l.said.starting.CompareAndSwap(nil, &r.Time)
	case watcherReplaying:
		l.said.replaying.CompareAndSwap(nil, &r.Time)
	}
	if r = retold(r); !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	return listener{l.Handler.WithAttrs(attrs), l.said}
}

// WithGroup implements slog.Handler.
func (l listener) WithGroup(name string) slog.Handler {
	return listener{l.Handler.WithGroup(name), l.said}
}
