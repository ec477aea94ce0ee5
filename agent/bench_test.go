package agent_test

import (
	"fmt"
	"log/slog"
	"os"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	agentdb "github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// writeBacklog leaves in dir what an agent that could not deliver would leave:
// scrapes of as many series, a second apart, ending now.
func writeBacklog(b *testing.B, dir string, series, scrapes int) {
	b.Helper()
	reg := prometheus.NewRegistry()
	logger := slog.New(slog.DiscardHandler)
	rs := remote.NewStorage(logger, reg, nil, dir, time.Second, nil, false)
	defer rs.Close()
	opts := agentdb.DefaultOptions()
	opts.WALSegmentSize = 8 << 20
	opts.WALCompression = compression.Snappy
	db, err := agentdb.Open(logger, reg, rs, dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	refs := make([]storage.SeriesRef, series)
	start := time.Now().Add(-time.Duration(scrapes) * time.Second).UnixMilli()
	for n := range scrapes {
		app := db.AppenderV2(b.Context())
		for i := range refs {
			ls := labels.EmptyLabels()
			if refs[i] == 0 {
				ls = labels.FromStrings("__name__", "bench_gauge", "instance", "10.0.0.1:9100", "job", "bench", "device", "device-"+strconv.Itoa(i))
			}
			if refs[i], err = app.Append(refs[i], ls, 0, start+int64(n)*1000, float64(n*i%1000), nil, nil, storage.AppendV2Options{}); err != nil {
				b.Fatal(err)
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}

// resident is the median of the agent's resident memory over a time, in MiB.
func (r *rig) resident(over time.Duration) float64 {
	var all []float64
	for end := time.Now().Add(over); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		all = append(all, r.residentNow())
	}
	sort.Float64s(all)
	return all[len(all)/2]
}

func (r *rig) residentNow() float64 {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024
		}
	}
	return 0
}

func benchRig(b *testing.B) *rig {
	r := newRig(b, agenttest.Manners{})
	r.endpoint.Close()
	var err error
	// Counts alone: keeping five million samples is not what is measured.
	if r.endpoint, err = agenttest.NewEndpoint(agenttest.Options{Keep: func(labels.Labels) bool { return false }}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.endpoint.Close)
	r.writes = strings.Replace(r.write("one", r.endpoint, ""), "max_samples_per_send: 500, capacity: 2500", "max_samples_per_send: 2000, capacity: 10000", 1)
	r.options.SegmentSize = 0
	r.options.BacklogMaxBytes = 1 << 30
	r.options.SyncInterval = 30 * time.Second
	return r
}

// BenchmarkDrain drains five million samples of so many series to an endpoint on
// the same machine.
func BenchmarkDrain(b *testing.B) {
	for _, series := range []int{5000, 10_000, 100_000} {
		b.Run(fmt.Sprint(series), func(b *testing.B) { drain(b, series, 5_000_000/series) })
	}
}

func drain(b *testing.B, series, scrapes int) {
	for b.Loop() {
		b.StopTimer()
		r := benchRig(b)
		r.interval = 5 * time.Second
		target := r.targets.Add("live", agenttest.TargetOptions{Series: series})
		r.start()
		r.awaitState("one", delivery.Live)
		r.awaitScrapes(target, 2)
		live := r.resident(10 * time.Second)
		r.stop()
		if err := os.RemoveAll(r.options.StoragePath); err != nil {
			b.Fatal(err)
		}
		writeBacklog(b, r.options.StoragePath, series, scrapes)
		before := r.endpoint.Snapshot().Accepted
		b.StartTimer()
		begun := time.Now()
		r.start()
		peak := 0.0
		r.eventually("the backlog to be drained", func() error {
			peak = max(peak, r.residentNow())
			if n := r.endpoint.Snapshot().Accepted - before; n < int64(series*scrapes) {
				return fmt.Errorf("%d of %d", n, series*scrapes)
			}
			return nil
		})
		b.ReportMetric(float64(series*scrapes)/time.Since(begun).Seconds(), "samples/s")
		var bytes, samples int
		for _, request := range r.endpoint.Snapshot().Requests {
			if request.At.After(begun) {
				bytes, samples = bytes+request.Bytes, samples+request.Samples
			}
		}
		b.ReportMetric(float64(bytes)/float64(samples), "B/sample")
		b.ReportMetric(live, "MiB-live")
		b.ReportMetric(peak-live, "MiB-above-live")
		b.StopTimer()
		r.stop()
		b.StartTimer()
	}
}

// BenchmarkStart starts with 500 MB of backlog and waits for the first scrape.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := benchRig(b)
		r.interval = 200 * time.Millisecond // upstream spreads first scrapes over an interval
		writeBacklog(b, r.options.StoragePath, 5000, 1000)
		fillBacklog(b, r.options.StoragePath, 500<<20)
		target := r.targets.Add("live", agenttest.TargetOptions{})
		if err := r.endpoint.Down(); err != nil {
			b.Fatal(err)
		}
		// Without marks, what is on disk is counted first; that is not the usual start.
		r.start()
		r.stop()
		answered := len(target.Answered())
		b.StartTimer()
		begun := time.Now()
		r.start()
		r.eventually("the first scrape", func() error {
			if len(target.Answered()) == answered {
				return fmt.Errorf("none")
			}
			return nil
		})
		b.ReportMetric(time.Since(begun).Seconds(), "s-to-first-scrape")
		b.ReportMetric(float64(diskUsage(b, r.options.StoragePath))/(1<<20), "MiB-of-backlog")
		b.StopTimer()
		r.stop()
		b.StartTimer()
	}
}

// BenchmarkOutage compares resident memory before and during an outage.
func BenchmarkOutage(b *testing.B) {
	for b.Loop() {
		r := benchRig(b)
		r.interval = 2 * time.Second
		r.options.MaxLiveLag = 5 * time.Second
		r.env = []string{"GOMEMLIMIT=60MiB"}
		target := r.targets.Add("live", agenttest.TargetOptions{Series: 5000})
		r.start()
		r.awaitState("one", delivery.Live)
		r.awaitScrapes(target, 10)
		before := r.resident(30 * time.Second)
		if err := r.endpoint.Down(); err != nil {
			b.Fatal(err)
		}
		r.awaitState("one", delivery.Behind)
		during := r.resident(30 * time.Second)
		b.ReportMetric(before, "MiB-before")
		b.ReportMetric(during, "MiB-during")
		b.ReportMetric(100*(during/before-1), "%-growth")
		r.stop()
	}
}

// BenchmarkOneDead measures how long the samples of a healthy destination take
// from scrape to endpoint, before and while another destination dies, goes
// behind and stays so.
func BenchmarkOneDead(b *testing.B) {
	for b.Loop() {
		r := benchRig(b)
		r.interval = 200 * time.Millisecond
		r.options.MaxLiveLag = 3 * time.Second
		healthy, err := agenttest.NewEndpoint(agenttest.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(healthy.Close)
		r.writes += r.write("healthy", healthy, "")
		target := r.targets.Add("live", agenttest.TargetOptions{Series: 100})
		r.start()
		r.awaitState("one", delivery.Live)
		r.awaitState("healthy", delivery.Live)
		r.awaitScrapes(target, 30)
		died := time.Now()
		if err := r.endpoint.Down(); err != nil {
			b.Fatal(err)
		}
		r.awaitState("one", delivery.Behind)
		r.awaitScrapes(target, 30)
		before, during := 0.0, 0.0
		for _, series := range healthy.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, agenttest.ScrapesMetric)) {
			for _, sample := range series.Samples {
				delay := sample.At.Sub(time.UnixMilli(sample.T)).Seconds()
				if sample.At.Before(died) {
					before = max(before, delay)
				} else {
					during = max(during, delay)
				}
			}
		}
		b.ReportMetric(before, "s-worst-before")
		b.ReportMetric(during, "s-worst-while-dead")
		r.stop()
	}
}

// BenchmarkFootprint measures resident memory when live.
func BenchmarkFootprint(b *testing.B) {
	for _, series := range []int{1000, 10_000} {
		b.Run(strconv.Itoa(series), func(b *testing.B) {
			for b.Loop() {
				r := benchRig(b)
				r.interval = 5 * time.Second
				target := r.targets.Add("live", agenttest.TargetOptions{Series: series})
				r.start()
				r.awaitState("one", delivery.Live)
				r.awaitScrapes(target, 4)
				b.ReportMetric(r.resident(15*time.Second), "MiB")
				r.stop()
			}
		})
	}
}

// fillBacklog copies the segments in dir/wal until they take about size bytes.
func fillBacklog(b *testing.B, dir string, size int64) {
	b.Helper()
	wal := dir + "/wal"
	files, err := os.ReadDir(wal)
	if err != nil {
		b.Fatal(err)
	}
	var contents [][]byte
	for _, f := range files {
		c, err := os.ReadFile(wal + "/" + f.Name())
		if err != nil {
			b.Fatal(err)
		}
		contents = append(contents, c)
		size -= int64(len(c))
	}
	for n := len(files); size > 0; n++ {
		c := contents[n%len(contents)]
		if len(c) == 0 {
			continue
		}
		if err := os.WriteFile(fmt.Sprintf("%s/%08d", wal, n), c, 0o600); err != nil {
			b.Fatal(err)
		}
		size -= int64(len(c))
	}
}
