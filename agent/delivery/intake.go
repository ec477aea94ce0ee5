package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// intake stands in front of upstream's storages: it counts what is committed,
// and refuses appends while the disk is full, and series that are too many.
type intake struct {
	next      storage.AppendableV2
	newcomers *newcomers
	sizes     scrapeSizes
	ahead     ahead
	newest    newest
	book      *ledger.Book
	mayAppend func() bool
	// failed is told of a commit that failed: upstream's pooled appender is
	// dirty then, and would write the old samples again.
	failed func(error)
	// broken: a commit has failed, or the intake is closed. What is committed after
	// a failure would be written with what it left, a second time; the run is about to
	// be begun anew.
	broken atomic.Bool
	// undecided: a commit has failed, and whether what it had is on disk is not known
	// before the run has ended: see reconcile.
	undecided atomic.Bool
	// generation that the WAL belongs to.
	generation int

	// commits is held shared by each commit, so that the ledger and the WAL's end
	// can be read at one moment. Nothing but memory and one stat of a file is
	// touched while it is held.
	commits sync.RWMutex
	// last commit. A time.Time, so that a step of the wall clock is not taken
	// for a silence.
	last atomic.Pointer[time.Time]

	rateMtx sync.Mutex // guards seen and before
	seen    ewma
	before  uint64
}

// AppenderV2 implements storage.AppendableV2.
func (in *intake) AppenderV2(ctx context.Context) storage.AppenderV2 {
	if request, ok := ctx.Value(receivedKey{}).(*Received); ok {
		return in.received(ctx, request)
	}
	if !in.mayAppend() || in.broken.Load() {
		return &refusingAppender{book: in.book, committed: in.committed}
	}
	target, _ := scrape.TargetFromContext(ctx)
	return &appender{AppenderV2: in.next.AppenderV2(ctx), in: in, target: target}
}

// atRest calls f while nothing is being committed, with the WAL's end.
func (in *intake) atRest(end func() backlog.Position, f func(end backlog.Position)) {
	in.commits.Lock()
	defer in.commits.Unlock()
	f(end())
}

// close returns when nothing is being committed, and nothing will be any more.
func (in *intake) close() {
	in.commits.Lock()
	defer in.commits.Unlock()
	in.broken.Store(true)
}

func (in *intake) committed() {
	in.ahead.enter(in.book)
	now := time.Now()
	in.last.Store(&now)
}

// lastCommit is zero when there was none.
func (in *intake) lastCommit() time.Time {
	if last := in.last.Load(); last != nil {
		return *last
	}
	return time.Time{}
}

// appendedPerSecond is the rate of appended samples.
func (in *intake) appendedPerSecond() float64 {
	in.rateMtx.Lock()
	defer in.rateMtx.Unlock()
	now, _ := in.book.Totals()
	in.seen.add(now - in.before)
	in.before = now
	return in.seen.perSecond()
}

type appender struct {
	storage.AppenderV2

	in       *intake
	target   *scrape.Target // nil where no target is scraped
	n        uint64
	rejected map[string]uint64 // by reason; nil as a rule
	// offender is the target of the first series that was refused.
	offender targetName
}

// Append implements storage.AppenderV2. A panic of upstream's is the error of this
// scrape, and nobody else's.
func (a *appender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (got storage.SeriesRef, err error) {
	defer recovered(&err)
	// Whoever has a reference has been let in before.
	if ref == 0 {
		a.in.newcomers.mtx.Lock()
		defer a.in.newcomers.mtx.Unlock()
		if reason := a.in.newcomers.refuse(ls, a.n, isReport(opts)); reason != "" {
			return 0, a.refuse(reason, ls)
		}
	}
	ref, err = a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	if err == nil || errors.Is(err, &storage.AppendPartialError{}) {
		a.n++
	}
	if err != nil && !isLateMarker(v, opts, err) {
		a.reject(err)
	}
	return ref, err
}

// isLateMarker reports whether what was refused is the end of a series that goes on.
// Upstream marks the series of a target that is gone as ended two intervals later, as of
// then; where another loop scrapes it by that time, the markers come too late, and are
// no samples that anybody would miss.
func isLateMarker(v float64, opts storage.AppendV2Options, err error) bool {
	return opts.RejectOutOfOrder && value.IsStaleNaN(v) &&
		(errors.Is(err, storage.ErrOutOfOrderSample) || errors.Is(err, storage.ErrDuplicateSampleForTimestamp))
}

// refuse counts a sample of a series that is not taken, and returns its error.
func (a *appender) refuse(reason string, ls labels.Labels) error {
	if a.rejected[reason] == 0 {
		a.in.newcomers.drops.begin(reason, time.Now())
	}
	if a.offender == (targetName{}) {
		a.offender = nameOf(ls)
	}
	err := &refusal{reason}
	a.reject(err)
	return err
}

// recovered turns a panic into an error: what one target sends must not end the
// process for all. It must be deferred itself.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("upstream's storage panicked: %v", p)
	}
}

func guarded(f func() error) (err error) {
	defer recovered(&err)
	return f()
}

// reject counts what the WAL's storage does not take, and a scrape goes on without.
// Any other error fails the scrape, which appends nothing then.
func (a *appender) reject(err error) {
	reason := ""
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case ok:
		reason = refused.reason
	case errors.Is(err, storage.ErrOutOfOrderSample):
		reason = "out_of_order"
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		reason = "duplicate"
	case errors.Is(err, storage.ErrOutOfBounds):
		reason = "out_of_bounds"
	default:
		return
	}
	if a.rejected == nil {
		a.rejected = map[string]uint64{}
	}
	a.rejected[reason]++
}

// Rollback implements storage.AppenderV2. When it fails, upstream's pooled appender
// is as dirty as after a commit that failed.
func (a *appender) Rollback() error {
	err := guarded(a.AppenderV2.Rollback)
	if err != nil {
		a.in.broken.Store(true)
		a.in.failed(err)
	}
	return err
}

// Commit implements storage.AppenderV2.
func (a *appender) Commit() error {
	a.in.commits.RLock()
	defer a.in.commits.RUnlock()
	if a.in.broken.Load() {
		a.in.book.NotAppended(a.n)
		a.count()
		return nil
	}
	err := guarded(a.AppenderV2.Commit)
	// Also where it failed: some of it may be on disk, and be written there by the end of
	// the run, too. What is not when the generation has been read counts as lost; it
	// would be in no term otherwise.
	a.in.book.Append(a.n, a.in.generation)
	a.count()
	if err != nil {
		a.in.broken.Store(true)
		a.in.undecided.Store(true)
		a.in.failed(err)
	}
	return err
}

// count enters what the scrape had besides the samples that were appended.
func (a *appender) count() {
	size := a.n
	for reason, n := range a.rejected {
		a.in.book.Reject(reason, n)
		size += n
	}
	a.in.sizes.note(a.target, size, time.Now())
	a.in.newcomers.dropped(a.rejected, a.offender)
	a.in.committed()
}
