package backlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/util/compression"
)

const page = 32 << 10

// run is one run of a process: a store, and the real agent.DB on top of it.
type run struct {
	t    testing.TB
	dir  string
	s    *Store
	rs   *remote.Storage
	db   *agent.DB
	gate *gate
	// model is what was committed, in order.
	model []sample
}

type sample struct {
	series string // labels
	t      int64
	v      float64 // of a histogram: its sum
	kind   record.Type
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type runOptions struct {
	Options
	segment int           // bytes; a page if 0
	keep    time.Duration // how long a series lives without samples; for ever if 0
	classic bool          // checkpoints by re-reading the WAL
	snappy  bool
}

func openStore(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	o.Dir = dir
	if o.MinFreeBytes == 0 {
		o.MinFreeBytes = 1
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = page
	}
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openRun(t testing.TB, dir string, o runOptions) *run {
	t.Helper()
	if o.segment == 0 {
		o.segment = page
	}
	o.SegmentSize = o.segment
	r := &run{t: t, dir: dir, s: openStore(t, dir, o.Options)}
	reg := prometheus.NewRegistry()
	r.rs = remote.NewStorage(discard(), reg, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	opts := agent.DefaultOptions()
	opts.WALSegmentSize = o.segment
	if o.snappy {
		opts.WALCompression = compression.Snappy
	}
	opts.StripeSize = 64
	opts.NoLockfile = true
	opts.CheckpointFromInMemorySeries = !o.classic
	opts.MinWALTime = 1
	opts.MaxWALTime = math.MaxInt64 / 4
	opts.TruncateFrequency = time.Millisecond
	if o.keep > 0 {
		opts.MaxWALTime = o.keep.Milliseconds()
	}
	r.gate = newGate()
	db, err := agent.Open(slog.New(r.gate), reg, r.rs, dir, opts)
	require.NoError(t, err)
	r.db = db
	return r
}

// close stops the run in an orderly manner.
func (r *run) close() {
	r.t.Helper()
	close(r.gate.stop)
	require.NoError(r.t, r.db.Close())
	require.NoError(r.t, r.rs.Close())
	require.NoError(r.t, r.s.Close())
}

// gate is the logger of an agent.DB. It holds the DB back whenever it wants to
// truncate, because there is no other way to say when it does.
type gate struct {
	slog.Handler
	arrived, permit, stop chan struct{}
	waiting               bool
}

func newGate() *gate {
	return &gate{slog.DiscardHandler, make(chan struct{}), make(chan struct{}), make(chan struct{}), false}
}

func (g *gate) Enabled(context.Context, slog.Level) bool { return true }

func (g *gate) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message != "truncating the WAL" {
		return nil
	}
	for _, c := range []func() bool{
		func() bool {
			select {
			case g.arrived <- struct{}{}:
				return true
			case <-g.stop:
				return false
			}
		},
		func() bool {
			select {
			case <-g.permit:
				return true
			case <-g.stop:
				return false
			}
		},
	} {
		if !c() {
			runtime.Goexit() // DB.Close would wait for the truncation, and that for the lock of Close
		}
	}
	return nil
}

// truncate has the DB truncate its WAL once.
func (r *run) truncate() {
	if !r.gate.waiting {
		<-r.gate.arrived
	}
	r.gate.permit <- struct{}{}
	<-r.gate.arrived
	r.gate.waiting = true
}

// kill returns a directory that looks as if the process had been killed now.
func (r *run) kill() string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "copy")
	out, err := exec.Command("cp", "-a", r.dir, dir).CombinedOutput() // keeps hard links
	require.NoError(r.t, err, string(out))
	r.close()
	return dir
}

func seriesLabels(i int) labels.Labels {
	return labels.FromStrings("__name__", "m", "i", fmt.Sprint(i), "padding", fmt.Sprintf("%040d", i*i))
}

// append commits one sample for each of the series in [from, to), the value
// unique, and every tenth a histogram with an exemplar.
func (r *run) append(from, to int, ts int64) {
	r.t.Helper()
	app := r.db.Appender(context.Background())
	var floats, hists []sample
	for i := from; i < to; i++ {
		l := seriesLabels(i)
		v := float64(len(r.model) + i - from)
		if i%10 == 9 {
			h := &histogram.Histogram{Schema: 0, Count: 1, ZeroCount: 1, Sum: v}
			ref, err := app.AppendHistogram(0, l, ts, h, nil)
			require.NoError(r.t, err)
			_, err = app.AppendExemplar(ref, l, exemplar.Exemplar{Labels: labels.FromStrings("trace_id", fmt.Sprint(ts, i)), Value: v, Ts: ts})
			require.NoError(r.t, err)
			hists = append(hists, sample{l.String(), ts, v, record.HistogramSamples})
			continue
		}
		_, err := app.Append(0, l, ts, v)
		require.NoError(r.t, err)
		floats = append(floats, sample{l.String(), ts, v, record.Samples})
	}
	require.NoError(r.t, app.Commit())
	r.s.Notify()
	r.model = append(append(r.model, floats...), hists...)
}

func (r *run) firstInWAL() int {
	wal, err := listWAL(r.s.inv.walDir)
	require.NoError(r.t, err)
	return wal.segments[0]
}

// consumer resolves what a Reader returns, as a drainer would.
type consumer struct {
	t       testing.TB
	r       *Reader
	dec     record.Decoder
	series  map[chunks.HeadSeriesRef]string
	samples []sample
	counts  Counts
	events  []Record // all that is not data
	unknown int      // samples of unknown series
	pos     Position
	context int // records
	// patience is how many failures of the disk are borne with.
	patience, failures int
}

func newConsumer(t testing.TB, s *Store, from Position) *consumer {
	c := &consumer{
		t: t, r: s.NewReader(from), pos: from,
		dec:    record.NewDecoder(labels.NewSymbolTable(), discard()),
		series: map[chunks.HeadSeriesRef]string{},
	}
	t.Cleanup(func() { c.r.Close() })
	return c
}

// next consumes one record and reports whether there was one.
func (c *consumer) next() bool {
	c.t.Helper()
	rec, err := c.r.Next()
	if errors.Is(err, io.EOF) {
		return false
	}
	if err != nil && c.failures < c.patience {
		c.failures++
		return true
	}
	require.NoError(c.t, err)
	require.LessOrEqual(c.t, rec.Pos.Compare(rec.End), 0)
	if rec.Kind == Damaged || rec.Kind == Missing {
		require.Error(c.t, rec.Err)
		require.Equal(c.t, rec.Context, rec.Pos == rec.End, "%v", rec)
	}
	if rec.Context {
		require.Equal(c.t, rec.Pos, rec.End)
		c.context++
	}
	if !c.pos.IsZero() {
		require.GreaterOrEqual(c.t, rec.Pos.Compare(c.pos), 0, "%v goes back from %s", rec, c.pos)
	}
	c.pos = rec.End
	require.Equal(c.t, rec.End, c.r.Position())
	if rec.Kind != Data {
		ev := *rec
		c.events = append(c.events, ev)
		if rec.Kind == Generation {
			clear(c.series)
		}
		return true
	}
	c.data(rec)
	return true
}

func (c *consumer) data(rec *Record) {
	c.t.Helper()
	if rec.Context {
		require.True(c.t, isContext(rec.Type), rec.Type)
	}
	switch rec.Type {
	case record.Series:
		series, err := c.dec.Series(rec.Data, nil)
		require.NoError(c.t, err)
		for _, s := range series {
			c.series[s.Ref] = s.Labels.String()
		}
	case record.Samples:
		samples, err := c.dec.Samples(rec.Data, nil)
		require.NoError(c.t, err)
		for _, s := range samples {
			c.add(s.Ref, sample{t: s.T, v: s.V, kind: rec.Type})
		}
		c.counts.Floats += uint64(len(samples))
	case record.HistogramSamples:
		samples, err := c.dec.HistogramSamples(rec.Data, nil)
		require.NoError(c.t, err)
		for _, s := range samples {
			c.add(s.Ref, sample{t: s.T, v: s.H.Sum, kind: rec.Type})
		}
		c.counts.Histograms += uint64(len(samples))
	case record.Exemplars:
		exemplars, err := c.dec.Exemplars(rec.Data, nil)
		require.NoError(c.t, err)
		for _, e := range exemplars {
			if _, ok := c.series[e.Ref]; !ok {
				c.unknown++
			}
		}
		c.counts.Exemplars += uint64(len(exemplars))
	}
}

func (c *consumer) add(ref chunks.HeadSeriesRef, s sample) {
	var ok bool
	if s.series, ok = c.series[ref]; !ok {
		c.unknown++
	}
	c.samples = append(c.samples, s)
}

// drain consumes up to the end of the WAL.
func (c *consumer) drain() *consumer {
	c.t.Helper()
	for c.next() {
	}
	return c
}

// kinds returns the kinds of the events that are not context.
func (c *consumer) kinds() (kinds []Kind) {
	for _, e := range c.events {
		if !e.Context {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

// requireAll asserts that exactly these samples were read, in order.
func (c *consumer) requireAll(want []sample) {
	c.t.Helper()
	require.Zero(c.t, c.unknown, "samples of unknown series")
	require.Equal(c.t, len(want), len(c.samples))
	for i := range want {
		if want[i] == c.samples[i] {
			continue // many thousands
		}
		require.Equal(c.t, want[i], c.samples[i], "sample %d", i)
	}
}

// inodeBytes returns the size of all files in wal/ and backlog/, each counted
// once.
func inodeBytes(dir string) (sum int64) {
	var seen []os.FileInfo
	for _, sub := range []string{"wal", "backlog"} {
		filepath.Walk(filepath.Join(dir, sub), func(_ string, fi os.FileInfo, err error) error {
			if err != nil || fi.IsDir() {
				return nil
			}
			for _, other := range seen {
				if os.SameFile(fi, other) {
					return nil
				}
			}
			seen = append(seen, fi)
			sum += fi.Size()
			return nil
		})
	}
	return sum
}

func ls(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
