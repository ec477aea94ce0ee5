package upstreamqueue

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

// TestStopInParallel: the queues of endpoints that hang are stopped together.
// Each is held until the contexts of all have ended: one after the other, the
// first would never be stopped.
func TestStopInParallel(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	const n = 4
	var held, ended sync.WaitGroup
	held.Add(n)
	ended.Add(n)
	var queues []*Queue
	for _, name := range []string{"a", "b", "c", "d"} {
		var once sync.Once
		w := watch{before: func(ctx context.Context, _ int) {
			once.Do(func() {
				held.Done()
				<-ctx.Done()
				ended.Done()
				ended.Wait()
			})
		}}
		queues = append(queues, r.start(e.entry(t, name), w.observer()))
	}
	_, after := queues[n-1].StartBounds()
	r.append(item{"a", after + 1, 1})
	within(t, "the batches", held.Wait)
	var stops sync.WaitGroup
	for _, u := range queues {
		stops.Go(func() {
			if err := u.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	within(t, "stopping them", stops.Wait)
}

// TestWhileStopping: a queue whose stop takes its time keeps nobody waiting, and
// counts as gone.
func TestWhileStopping(t *testing.T) {
	r, e, other := newRig(t), newReceiver(t), newReceiver(t)
	release, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	hangs := watch{before: func(context.Context, int) {
		once.Do(func() { close(held) })
		<-release
	}}
	var w watch
	stopping := r.start(e.entry(t, "hangs"), hangs.observer())
	u := r.start(other.entry(t, "other"), w.observer())
	_, after := u.StartBounds()
	r.append(item{"a", after + 1, 1})
	<-held
	stopped := make(chan error, 2)
	for range cap(stopped) {
		go func() { stopped <- stopping.Stop() }()
	}
	r.await("the stop", func() bool { return names(r.Queues)["hangs"] == 0 })

	within(t, "a commit, which notifies", func() { r.append(item{"a", after + 2, 2}) })
	r.await("the other queue", func() bool { return w.acknowledged() == 2 })
	if s := r.LowestSegment(); s != u.Segment() {
		t.Errorf("the lowest segment is %d, want %d", s, u.Segment())
	}
	if err := stopping.renew(e.entry(t, "hangs")); err != nil {
		t.Errorf("cannot refresh a queue that is being stopped: %v", err)
	}
	if _, err := r.Start(t.Context(), e.entry(t, "hangs"), labels.EmptyLabels(), w.observer()); err == nil {
		t.Error("a queue was started beside itself")
	}
	select {
	case err := <-stopped:
		t.Errorf("a queue that sends has stopped: %v", err)
	default:
	}
	close(release)
	within(t, "both stops", func() {
		if err := errors.Join(<-stopped, <-stopped); err != nil {
			t.Error(err)
		}
	})
}

// TestNotifyWhileRefreshing: the client of a queue may take its time to be built.
func TestNotifyWhileRefreshing(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	u := r.start(e.entry(t, "one"), w.observer())
	u.mtx.Lock()
	defer u.mtx.Unlock()
	within(t, "a notification", r.Notify)
}

// names counts the metrics by their remote_name or consumer.
func names(q *Queues) map[string]int {
	families, _ := q.Gather()
	n := map[string]int{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == remoteName || l.GetName() == consumer {
					n[l.GetValue()]++
				}
			}
		}
	}
	return n
}

// TestGather: the metrics of all storages pass for those of one.
func TestGather(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	check := func(want ...string) map[string]int {
		t.Helper()
		// Upstream's names are not all to the linter's taste, its help texts are.
		if _, err := testutil.GatherAndLint(r.Queues); err != nil {
			t.Error(err)
		}
		families, err := r.Gather()
		if err != nil {
			t.Error(err)
		}
		if !slices.IsSortedFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }) {
			t.Error("the families are not sorted")
		}
		count := map[string]int{}
		for _, f := range families {
			count[f.GetName()]++
			if f.GetName() == "prometheus_remote_storage_highest_timestamp_in_seconds" && len(f.GetMetric()) == 1 {
				count["highest"]++
			}
			for _, m := range f.GetMetric() {
				if v := m.GetGauge().GetValue(); f.GetName() == currentSegment && v != math.Trunc(v) {
					t.Errorf("segment %v", v)
				}
			}
		}
		if count["highest"] != 1 || slices.Max(slices.Collect(maps.Values(count))) != 1 {
			t.Errorf("families %v", count)
		}
		got := names(r.Queues)
		if !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
			t.Errorf("metrics of %v, want %v", got, want)
		}
		return got
	}
	check()
	var w watch
	one := r.start(e.entry(t, "one"), w.observer())
	one.BegunAgain() // marks the gauge
	check("one")
	two := r.start(e.entry(t, "two"), w.observer())
	if n := check("one", "two"); n["one"] < 20 || n["one"] != n["two"] {
		t.Errorf("numbers of metrics: %v", n)
	}
	// The same may be said of all metrics together with the storage's own.
	if _, err := (prometheus.Gatherers{r.Queues, prometheus.NewRegistry()}).Gather(); err != nil {
		t.Error(err)
	}
	if err := one.Stop(); err != nil {
		t.Error(err)
	}
	check("two")
	if err := two.Stop(); err != nil {
		t.Error(err)
	}
	check()
}

// TestLowestSegment: segments are needed from where the last queue is.
func TestLowestSegment(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	if s := r.LowestSegment(); s != math.MaxInt {
		t.Errorf("without a queue: %d", s)
	}
	var w watch
	one := r.start(e.entry(t, "one"), w.observer())
	r.await("the last segment", func() bool { return one.Segment() == 1 })
	if s := r.LowestSegment(); s != 1 {
		t.Errorf("with a queue in segment 1: %d", s)
	}
	r.cut()
	r.await("the next segment", func() bool { return one.Segment() == 2 })
	u, err := r.newQueue(e.entry(t, "starting"), labels.EmptyLabels())
	if err != nil {
		t.Fatal(err)
	}
	if s := r.LowestSegment(); s != 0 {
		t.Errorf("while a queue is starting: %d", s)
	}
	if err := u.Stop(); err != nil {
		t.Error(err)
	}
	if s := r.LowestSegment(); s != 2 {
		t.Errorf("with a queue in segment 2: %d", s)
	}
}

// TestStartRefused: what could not be counted is not started, and leaves nothing.
func TestStartRefused(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	r.start(e.entry(t, "live"), w.observer())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		change func(*config.RemoteWriteConfig)
		want   string
	}{
		{"no name", t.Context(), func(c *config.RemoteWriteConfig) { c.Name = "" }, "needs a name"},
		{"no URL", t.Context(), func(c *config.RemoteWriteConfig) { c.URL = nil }, "no URL"},
		{"several shards", t.Context(), func(c *config.RemoteWriteConfig) { c.QueueConfig.MaxShards = 2 }, "one shard, not 1 to 2"},
		{"age limit", t.Context(), func(c *config.RemoteWriteConfig) { c.QueueConfig.SampleAgeLimit = 1 }, "sample_age_limit"},
		{"classic histograms", t.Context(), func(c *config.RemoteWriteConfig) { c.ConvertNHCBToClassic = true }, "convert_nhcb_to_classic"},
		{"live already", t.Context(), func(c *config.RemoteWriteConfig) { c.Name = "live" }, `a queue of "live" already`},
		{"no client", t.Context(), func(c *config.RemoteWriteConfig) { c.HTTPClientConfig.TLSConfig.CAFile = "missing" }, "missing"},
		{"cancelled", cancelled, func(*config.RemoteWriteConfig) {}, "context canceled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := r.Start(tc.ctx, e.entry(t, "new", tc.change), labels.EmptyLabels(), w.observer())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := r.Start(t.Context(), e.entry(t, "new"), labels.EmptyLabels(), Observer{}); err == nil {
		t.Error("a queue without an observer was started")
	}
	if n := names(r.Queues); len(n) != 1 || n["live"] == 0 {
		t.Errorf("metrics of %v", n)
	}
	r.start(e.entry(t, "new"), w.observer())
}

// TestTwoAgents: two sets of queues in a process must not see each other's batches.
func TestTwoAgents(t *testing.T) {
	r, other, e := newRig(t), newRig(t), newReceiver(t)
	var w watch
	r.start(e.entry(t, "one"), w.observer())
	if _, err := other.Start(t.Context(), e.entry(t, "one"), labels.EmptyLabels(), w.observer()); err == nil {
		t.Error("two queues of one name send to one URL")
	}
	other.start(newReceiver(t).entry(t, "one"), w.observer())
}

// TestNoWAL: a watcher that does not begin is given up.
func TestNoWAL(t *testing.T) {
	t.Parallel() // it waits for 5 s
	q, err := New(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var w watch
	if _, err := q.Start(t.Context(), newReceiver(t).entry(t, "one"), labels.EmptyLabels(), w.observer()); err == nil || !strings.Contains(err.Error(), "has not begun within 5s") {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}

// TestClose: queues are stopped before.
func TestClose(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var w watch
	r.start(e.entry(t, "one"), w.observer())
	if err := r.Close(); err == nil || !strings.Contains(err.Error(), "1 queues") {
		t.Errorf("closed under a queue: %v", err)
	}
	if _, err := r.Start(t.Context(), e.entry(t, "two"), labels.EmptyLabels(), w.observer()); err == nil {
		t.Error("a queue was started after the end")
	}
}

// TestVersionOf: the version of upstream in the binary.
func TestVersionOf(t *testing.T) {
	fork := &debug.Module{Path: "example.com/fork", Version: "v2"}
	for _, tc := range []struct {
		deps []*debug.Module
		want string
	}{
		{nil, "github.com/prometheus/prometheus (of unknown version)"},
		{[]*debug.Module{{Path: "example.com/a", Version: "v1"}, {Path: "github.com/prometheus/prometheus", Version: "v0.316.0"}}, "github.com/prometheus/prometheus v0.316.0"},
		{[]*debug.Module{{Path: "github.com/prometheus/prometheus", Version: "v0.316.0", Replace: fork}}, "github.com/prometheus/prometheus v0.316.0 (as example.com/fork v2)"},
	} {
		if got := versionOf(&debug.BuildInfo{Deps: tc.deps}); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// TestMissing: what is relied on and not there is named, with upstream's version.
func TestMissing(t *testing.T) {
	r := newRecorder()
	if err := newStorage(Options{}, slog.New(slog.DiscardHandler), r).Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := newWatcher(r.collectors(), "one", nil); err != nil {
		t.Fatal(err)
	}
	other := prometheus.NewGauge(prometheus.GaugeOpts{Name: "other", Help: "-"})
	unlabelled := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "other", Help: "-"}, []string{"queue"})
	for _, tc := range []struct {
		name   string
		change func(map[string]registered)
		want   string
	}{
		{"gauge", func(m map[string]registered) { delete(m, currentSegment) }, currentSegment},
		{"counter", func(m map[string]registered) { delete(m, recordsRead) }, recordsRead},
		{"type", func(m map[string]registered) { m[currentSegment] = registered{other, time.Time{}} }, "*prometheus.GaugeVec"},
		{"labels", func(m map[string]registered) { m[currentSegment] = registered{unlabelled, time.Time{}} }, "other labels on " + currentSegment},
	} {
		t.Run(tc.name, func(t *testing.T) {
			seen := r.collectors()
			tc.change(seen)
			_, err := newWatcher(seen, "one", nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "github.com/prometheus/prometheus") {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := unknownSeriesOf(r.collectors()); err == nil || !strings.Contains(err.Error(), samplesDropped) {
		t.Errorf("without a queue: %v", err)
	}
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "other", Help: "-"}, []string{"why"})
	if _, err := unknownSeriesOf(map[string]registered{samplesDropped: {vec, time.Time{}}}); err == nil || !strings.Contains(err.Error(), "other labels") {
		t.Errorf("with another label: %v", err)
	}
}

func TestCreateFirstSegment(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		if err := CreateFirstSegment(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "wal", "00000000"), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "wal", "00000000")); string(b) != "kept" {
		t.Errorf("an existing segment was changed to %q", b)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CreateFirstSegment(file); err == nil {
		t.Error("no error from a directory that cannot be")
	}
}
