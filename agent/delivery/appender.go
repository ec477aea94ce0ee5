package delivery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// intake stands in front of upstream's storages: it counts what is committed,
// and refuses appends while the disk is full.
type intake struct {
	next     storage.AppendableV2
	refusing func() bool
	// failed is told of a commit that failed: upstream's pooled appender is
	// dirty then, and would write the old samples again.
	failed func(error)

	// commits is held shared by each commit, so that totals and the WAL's end
	// can be read at one moment.
	commits     sync.RWMutex
	appended    atomic.Uint64
	notAppended atomic.Uint64
	// last commit. A time.Time, so that a step of the wall clock is not taken
	// for a silence.
	last atomic.Pointer[time.Time]

	rateMtx sync.Mutex
	seen    ewma
	before  uint64
}

// AppenderV2 implements storage.AppendableV2.
func (in *intake) AppenderV2(ctx context.Context) storage.AppenderV2 {
	if in.refusing() {
		return &refusingAppender{in: in}
	}
	return &appender{AppenderV2: in.next.AppenderV2(ctx), in: in}
}

// totals returns the samples appended and not appended since the storage
// directory was created.
func (in *intake) totals() (appended, notAppended uint64) {
	return in.appended.Load(), in.notAppended.Load()
}

// atRest returns the totals and the WAL's end at one moment.
func (in *intake) atRest(end func() backlog.Position) (appended, notAppended uint64, tail backlog.Position) {
	in.commits.Lock()
	defer in.commits.Unlock()
	return in.appended.Load(), in.notAppended.Load(), end()
}

func (in *intake) committed() {
	now := time.Now()
	in.last.Store(&now)
}

// rate of appended samples a second.
func (in *intake) rate() float64 {
	in.rateMtx.Lock()
	defer in.rateMtx.Unlock()
	now := in.appended.Load()
	in.seen.add(now - in.before)
	in.before = now
	return in.seen.perSecond()
}

type appender struct {
	storage.AppenderV2

	in *intake
	n  uint64
}

// Append implements storage.AppenderV2.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	ref, err := a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil || errors.Is(err, &storage.AppendPartialError{}) {
		a.n++
	}
	return ref, err
}

// Commit implements storage.AppenderV2.
func (a *appender) Commit() error {
	a.in.commits.RLock()
	defer a.in.commits.RUnlock()
	if err := a.AppenderV2.Commit(); err != nil {
		a.in.failed(err)
		return err
	}
	a.in.appended.Add(a.n)
	a.in.committed()
	return nil
}

// refusingAppender takes samples and drops them, counted: an error would make
// the scrape itself look failed.
type refusingAppender struct {
	in *intake
	n  uint64
}

// Append implements storage.AppenderV2. The reference 0 is "unknown" upstream.
func (a *refusingAppender) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	a.n++
	return 0, nil
}

// Commit implements storage.AppenderV2.
func (a *refusingAppender) Commit() error {
	a.in.notAppended.Add(a.n)
	a.in.committed()
	return nil
}

// Rollback implements storage.AppenderV2.
func (*refusingAppender) Rollback() error { return nil }
