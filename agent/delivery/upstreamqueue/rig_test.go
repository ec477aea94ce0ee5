package upstreamqueue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"go.uber.org/goleak"
)

// TestMain also holds that the storages of upstream leave nothing behind when
// they are closed.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a condition may take on a machine that is busy with
// something else.
const patience = time.Minute

// await waits for a condition.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// within fails the test when f does not return.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not return", what)
	}
}

// item is a sample, histogram or exemplar as the receiver got it.
type item struct {
	series string // the metric's name
	t      int64
	v      float64 // the sum of a histogram
}

// receiver is an endpoint that decodes requests with upstream's own decoders.
type receiver struct {
	*httptest.Server

	mtx      sync.Mutex
	answers  []int // statuses of the next requests; 200 when there is none, 0 is no answer
	items    []item
	batches  []int // items of each request
	metadata int
	headers  []http.Header
	silent   bool // 2.0: answers 200 without saying what it wrote
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	items, metadata, err := decode(req.Header, body)
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.headers = append(r.headers, req.Header)
	r.metadata += metadata
	status := http.StatusOK
	switch {
	case err != nil:
		status = http.StatusUnsupportedMediaType
	case metadata == 0 && len(r.answers) > 0:
		status, r.answers = r.answers[0], r.answers[1:]
	}
	switch status {
	case 0:
		panic(http.ErrAbortHandler)
	case http.StatusOK:
		r.items = append(r.items, items...)
		if len(items) > 0 {
			r.batches = append(r.batches, len(items))
		}
		if !r.silent {
			w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1")
		}
	default:
		http.Error(w, "answer of the test", status)
	}
}

// decode returns the items of a request in their order.
func decode(header http.Header, body []byte) (items []item, metadata int, err error) {
	b := labels.NewScratchBuilder(0)
	if header.Get(remote.RemoteWriteVersionHeader) == remote.RemoteWriteVersion20HeaderValue {
		req, err := remote.DecodeWriteV2Request(bytes.NewReader(body))
		if err != nil {
			return nil, 0, err
		}
		for _, ts := range req.Timeseries {
			lset, err := ts.ToLabels(&b, req.Symbols)
			if err != nil {
				return nil, 0, err
			}
			for _, s := range ts.Samples {
				items = append(items, item{lset.Get(model.MetricNameLabel), s.Timestamp, s.Value})
			}
		}
		return items, 0, nil
	}
	req, err := remote.DecodeWriteRequest(bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	for _, ts := range req.Timeseries {
		name := ts.ToLabels(&b, nil).Get(model.MetricNameLabel)
		for _, s := range ts.Samples {
			items = append(items, item{name, s.Timestamp, s.Value})
		}
		for _, h := range ts.Histograms {
			items = append(items, item{name, h.Timestamp, h.Sum})
		}
		for _, e := range ts.Exemplars {
			items = append(items, item{name, e.Timestamp, e.Value})
		}
	}
	return items, len(req.Metadata), nil
}

// answer sets what the next requests are answered.
func (r *receiver) answer(statuses ...int) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.answers = statuses
}

// received returns the items received so far, in order.
func (r *receiver) received() []item {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return slices.Clone(r.items)
}

func (r *receiver) requests() []http.Header {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	return slices.Clone(r.headers)
}

// entry returns a remote_write entry for the receiver, as this agent gives it
// to upstream.
func (r *receiver) entry(t testing.TB, name string, change ...func(*config.RemoteWriteConfig)) *config.RemoteWriteConfig {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.DefaultRemoteWriteConfig
	cfg.Name = name
	cfg.URL = &config_util.URL{URL: u}
	cfg.HTTPClientConfig.FollowRedirects = false
	cfg.QueueConfig.MinShards, cfg.QueueConfig.MaxShards = 1, 1
	cfg.QueueConfig.RetryOnRateLimit = true
	cfg.QueueConfig.MaxSamplesPerSend = 10
	cfg.QueueConfig.Capacity = 100
	cfg.QueueConfig.BatchSendDeadline = model.Duration(10 * time.Millisecond)
	cfg.QueueConfig.MinBackoff = model.Duration(time.Millisecond)
	cfg.QueueConfig.MaxBackoff = model.Duration(10 * time.Millisecond)
	cfg.SendExemplars, cfg.SendNativeHistograms = true, true
	cfg.MetadataConfig.Send = false
	for _, f := range change {
		f(&cfg)
	}
	return &cfg
}

// watch is an observer that writes down what it is told. What before and after
// do, if they are set, is done afterwards.
type watch struct {
	before func(ctx context.Context, items int)
	after  func(ctx context.Context, o Outcome)

	mtx       sync.Mutex
	announced []int
	ended     []Outcome
}

func (w *watch) observer() Observer {
	return Observer{
		Before: func(ctx context.Context, items int) {
			w.mtx.Lock()
			w.announced = append(w.announced, items)
			w.mtx.Unlock()
			if w.before != nil {
				w.before(ctx, items)
			}
		},
		After: func(ctx context.Context, o Outcome) {
			w.mtx.Lock()
			w.ended = append(w.ended, o)
			w.mtx.Unlock()
			if w.after != nil {
				w.after(ctx, o)
			}
		},
	}
}

func (w *watch) seen() (announced []int, ended []Outcome) {
	w.mtx.Lock()
	defer w.mtx.Unlock()
	return slices.Clone(w.announced), slices.Clone(w.ended)
}

// acknowledged is the number of items in acknowledged batches.
func (w *watch) acknowledged() (n int) {
	_, ended := w.seen()
	for _, o := range ended {
		if o.Err == "" {
			n += o.Items()
		}
	}
	return n
}

// rig is a WAL that upstream's agent storage writes, and queues that read it.
type rig struct {
	*Queues

	t   testing.TB
	dir string
	db  *agentdb.DB
}

// pageSize is that of the WAL: the smallest segment.
const pageSize = 32 << 10

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir()}
	var err error
	if r.Queues, err = New(Options{Dir: r.dir}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := CreateFirstSegment(r.dir); err != nil {
		t.Fatal(err)
	}
	opts := agentdb.DefaultOptions()
	opts.WALSegmentSize = pageSize
	opts.StripeSize = 16
	opts.NoLockfile = true
	r.db, err = agentdb.Open(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), r.Idle(), r.dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.db.Close(); err != nil {
			t.Error(err)
		}
	})
	r.db.SetWriteNotified(r.Queues)
	return r
}

// await waits for what queues do. It notifies them, because a notification that
// meets a watcher at work is lost, and it reads by itself after 15 s only.
func (r *rig) await(what string, ok func() bool) {
	r.t.Helper()
	await(r.t, what, func() bool {
		r.Notify()
		return ok()
	})
}

// start starts a queue that is stopped at the test's end.
func (r *rig) start(cfg *config.RemoteWriteConfig, o Observer) *Queue {
	r.t.Helper()
	u, err := r.Start(r.t.Context(), cfg, labels.FromStrings("from", "test"), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := u.Stop(); err != nil {
			r.t.Error(err)
		}
	})
	return u
}

// append commits floats, one of each item.
func (r *rig) append(items ...item) {
	r.t.Helper()
	app := r.db.AppenderV2(context.Background())
	for _, it := range items {
		if _, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, it.series), 0, it.t, it.v, nil, nil, storage.AOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// appendAll commits a float, a native histogram and an exemplar.
func (r *rig) appendAll(at int64) {
	r.t.Helper()
	app := r.db.AppenderV2(context.Background())
	h := &histogram.Histogram{Schema: 0, Count: 1, Sum: 2, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []int64{1}}
	opts := storage.AOptions{Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace", "a"), Value: 3, Ts: at, HasTs: true}}}
	_, err := app.Append(0, labels.FromStrings(model.MetricNameLabel, "float"), 0, at, 1, nil, nil, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err = app.Append(0, labels.FromStrings(model.MetricNameLabel, "histogram"), 0, at, 0, h, nil, storage.AOptions{}); err != nil {
		r.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		r.t.Fatal(err)
	}
}

// lastSegment is the segment that is written.
func (r *rig) lastSegment() int {
	r.t.Helper()
	_, last, err := wlog.Segments(filepath.Join(r.dir, "wal"))
	if err != nil {
		r.t.Fatal(err)
	}
	return last
}

// cut appends until the WAL begins a new segment. What it appends is old: no
// queue sends it.
func (r *rig) cut() {
	r.t.Helper()
	filler := make([]item, 100)
	for at, last := int64(1), r.lastSegment(); r.lastSegment() == last; at++ {
		for i := range filler {
			filler[i] = item{series: fmt.Sprintf("filler_%d_%d", last, i), t: at}
		}
		r.append(filler...)
	}
}

// count returns n samples of one series with rising values, the first at a time.
func count(series string, at int64, n int) []item {
	items := make([]item, n)
	for i := range items {
		items[i] = item{series, at + int64(i), float64(i)}
	}
	return items
}
