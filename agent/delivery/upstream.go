package delivery

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
)

// flushDeadline is how long upstream may flush a queue that is being stopped.
// No flush is needed for safety, and upstream stops queues one after the other
// under the lock that every commit takes: five dead endpoints must stay far
// below the 5 s in which a stop or a reload ends.
const flushDeadline = 500 * time.Millisecond

// watcherStart is how long a WAL watcher may take from its start to its first
// record; it takes well under a millisecond on an idle machine.
const watcherStart = 5 * time.Second

// queues is upstream's remote storage with what we need to know of it and
// cannot be told: when a queue was started, and how far its watcher is.
type queues struct {
	logger  log.Logger
	storage *remote.Storage
	reg     *prometheus.Registry

	mtx      sync.Mutex // serialises ApplyConfig
	live     map[string]*endpoint
	external labels.Labels

	seenMtx  sync.Mutex
	watchers []prometheus.Collector // of upstream's WAL watchers
	segments *prometheus.GaugeVec   // the segment that each of them is in
	started  time.Time              // the last time a queue registered its metrics
}

// newQueues starts upstream's remote storage for the WAL under o.Dir/wal.
func newQueues(o Options) *queues {
	q := &queues{logger: o.Logger, reg: prometheus.NewRegistry(), live: map[string]*endpoint{}}
	q.storage = remote.NewStorage(o.Slogger, (*recorder)(q), func() (int64, error) { return 0, nil }, o.Dir, flushDeadline, o.ScrapeManager, o.TypeAndUnitLabels)
	return q
}

// apply gives upstream the destinations that are live. It is incremental:
// queues that stay are not touched, but for a new HTTP client. If upstream
// cannot build a client, it forgets the queues that it has seen before, which
// run on, and panics when they are to be started again. So a queue that would
// make it fail (a certificate's file has vanished) is stopped instead; its
// follower notices that it is gone.
func (q *queues) apply() error {
	cfg := &config.Config{GlobalConfig: config.GlobalConfig{ExternalLabels: q.external}}
	for name, e := range q.live {
		if _, err := newWriteClient(e.cfg); err != nil {
			level.Error(q.logger).Log("msg", "cannot keep a destination live", "destination", name, "err", err)
			delete(q.live, name)
			continue
		}
		cfg.RemoteWriteConfigs = append(cfg.RemoteWriteConfigs, e.cfg)
	}
	if err := q.storage.ApplyConfig(cfg); err != nil {
		return fmt.Errorf("upstream remote storage: %w", err)
	}
	return nil
}

// start makes e live and returns bounds between which its watcher took its
// start time: upstream calls Register when it starts a queue, just before the
// watcher sets the clock, and the watcher's own metrics move just after.
func (q *queues) start(e *endpoint) (notBefore, notAfter time.Time, err error) {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	if _, err := newWriteClient(e.cfg); err != nil {
		return time.Time{}, time.Time{}, err
	}
	q.external = e.external
	q.live[e.name] = e
	records, _ := q.watcher(e.name)
	begun := time.Now()
	if err := q.apply(); err != nil {
		delete(q.live, e.name)
		return time.Time{}, time.Time{}, err
	}
	notBefore = begun
	q.seenMtx.Lock()
	if q.started.After(begun) {
		notBefore = q.started
	}
	q.seenMtx.Unlock()
	// It has read a record or entered a segment after the first. Segment 0 is
	// empty by construction (the agent creates it), so a fresh WAL moves on to
	// segment 1 at once. Upstream forgets only some of a stopped watcher's
	// record counters, hence the comparison.
	for deadline := time.Now().Add(watcherStart); ; {
		if read, segment := q.watcher(e.name); read > records || segment > 0 {
			return notBefore, time.Now(), nil
		}
		if time.Now().After(deadline) {
			delete(q.live, e.name)
			return time.Time{}, time.Time{}, errors.Join(fmt.Errorf("upstream's WAL watcher of %q did not start", e.name), q.apply())
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// stop takes the named destinations out. It returns when their queues have
// stopped: nothing is sent by them any more.
func (q *queues) stop(names ...string) error {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	changed := false
	for _, name := range names {
		if _, ok := q.live[name]; ok {
			delete(q.live, name)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return q.apply()
}

// refresh gives a live queue a client with the secrets of e. Its batch size
// stays: with another one upstream would begin a new queue, unseen by the
// follower of the old one.
func (q *queues) refresh(e *endpoint) error {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	live, ok := q.live[e.name]
	if !ok {
		return nil
	}
	q.live[e.name] = e.withBatchSize(live.cfg.QueueConfig.MaxSamplesPerSend)
	return q.apply()
}

func (q *queues) close() error {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	return q.storage.Close()
}

// watcher tells how many records the WAL watcher of a queue has read, and the
// segment it is in; -1 when there is none.
func (q *queues) watcher(name string) (records float64, segment int) {
	q.seenMtx.Lock()
	watchers := q.watchers
	q.seenMtx.Unlock()
	segment = -1
	for _, c := range watchers {
		ch := make(chan prometheus.Metric, 64)
		go func() {
			c.Collect(ch)
			close(ch)
		}()
		for metric := range ch {
			var m dto.Metric
			if metric.Write(&m) != nil || label(&m, "consumer") != name {
				continue
			}
			if m.Gauge != nil {
				segment = int(m.GetGauge().GetValue())
			}
			records += m.GetCounter().GetValue()
		}
	}
	return records, segment
}

// Upstream's metrics of the watchers that are looked at.
const (
	currentSegment = "prometheus_wal_watcher_current_segment"
	recordsRead    = "prometheus_wal_watcher_records_read_total"
)

// seen is added to the segment of a watcher that has been looked at.
const seen = 0.25

// entered tells which segment a live queue's watcher is in, and whether it has
// entered it since the last call: it sets its gauge only then, so that a gauge
// that was touched and is not any more has been set again.
func (q *queues) entered(name string) (segment int, anew bool) {
	q.seenMtx.Lock()
	g := q.segments.WithLabelValues(name)
	q.seenMtx.Unlock()
	var m dto.Metric
	if g.Write(&m) != nil {
		return 0, false
	}
	v := m.GetGauge().GetValue()
	if anew = v == math.Trunc(v); anew {
		g.Add(seen)
	}
	return int(v), anew
}

// Gather implements prometheus.Gatherer: upstream's metrics as upstream means them.
func (q *queues) Gather() ([]*dto.MetricFamily, error) {
	families, err := q.reg.Gather()
	for _, f := range families {
		if f.GetName() != currentSegment {
			continue
		}
		for _, m := range f.GetMetric() {
			*m.Gauge.Value = math.Trunc(m.GetGauge().GetValue())
		}
	}
	return families, err
}

// unknownDropped is how many samples a queue dropped because it did not know
// their series. It must stay 0: the count of acknowledgements would be off.
func (q *queues) unknownDropped(name string) float64 {
	families, err := q.reg.Gather()
	if err != nil {
		return 0
	}
	var n float64
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "prometheus_remote_storage_") || !strings.HasSuffix(f.GetName(), "_dropped_total") {
			continue
		}
		for _, m := range f.GetMetric() {
			if label(m, "remote_name") == name && label(m, "reason") == "unintentionally_dropped_series" {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// recorder is the registerer that upstream's remote storage gets: it registers
// with q.reg, and notes what q needs to see.
type recorder queues

func (r *recorder) Register(c prometheus.Collector) error { return r.reg.Register(c) }

func (r *recorder) MustRegister(cs ...prometheus.Collector) {
	r.seenMtx.Lock()
	r.started = time.Now()
	for _, c := range cs {
		descs := make(chan *prometheus.Desc, 1)
		go func() {
			c.Describe(descs)
			close(descs)
		}()
		for d := range descs {
			s := d.String()
			if strings.Contains(s, `"`+currentSegment+`"`) || strings.Contains(s, `"`+recordsRead+`"`) {
				r.watchers = append(r.watchers, c)
			}
			if vec, ok := c.(*prometheus.GaugeVec); ok && strings.Contains(s, `"`+currentSegment+`"`) {
				r.segments = vec
			}
		}
	}
	r.seenMtx.Unlock()
	r.reg.MustRegister(cs...)
}

func (r *recorder) Unregister(c prometheus.Collector) bool { return r.reg.Unregister(c) }
