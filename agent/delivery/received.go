package delivery

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// Received is what becomes of one request that somebody has sent to this agent, and what
// it may have. It goes with the context of the request; see WithReceived.
type Received struct {
	// Begin reports whether the sender may begin one more series. It is called under a
	// lock.
	Begin func() bool
	// Admit reports whether the sender may have so many samples more at this moment.
	Admit func(samples uint64) bool
	// Set is put into each series, in the place of what the sender calls so; an empty value
	// takes that away. An empty name: nothing is put in.
	Set labels.Label

	// Whole: upstream's handler takes all of a request or nothing, as with remote write 1.0
	// and OTLP.
	Whole bool

	// Samples that were committed, and Repeated ones, which had been before. First has the
	// labels of the first series of the request that may come into being, which tell whose
	// it is; empty: it has none.
	Samples, Repeated uint64
	First             labels.Labels
	// Failed is why a request that is taken as a whole was not; nil: it was, or may be later.
	Failed error
	// Undone is how many samples were appended and taken back, of which none is Rejected.
	Undone uint64
	// Rejected samples, by reason: what the storage does not take, today or tomorrow.
	Rejected map[string]uint64
	// Later is why nothing of the request was taken that may be taken later; empty: it
	// was not so.
	Later string

	appender *receivedAppender // nil: upstream's handler has not asked for one
}

// End is called when upstream's handler has answered. What it has left open, in a panic,
// would stay with upstream's pooled appender, and series that are in no WAL with it.
func (r *Received) End() {
	if a := r.appender; a != nil && !a.ended {
		_ = a.Rollback()
	}
}

// Reject counts samples of a request that the sender will not send again, and which no
// appender has seen, or nobody but upstream's handler has refused.
func (r *Received) Reject(reason string, n uint64) {
	if r.appender == nil || n == 0 {
		return
	}
	if r.Rejected == nil {
		r.Rejected = map[string]uint64{}
	}
	r.Rejected[reason] += n
	r.appender.in.book.Reject(reason, n)
}

// Reasons for Received.Later, beside those for which a series is not taken.
const (
	LaterStorage      = "storage"       // the disk is full, or the agent is between two runs
	LaterSenderSeries = "sender_series" // Begin
	LaterSenderRate   = "sender_rate"   // Admit
	LaterMaxSeries    = reasonMaxSeries
	LaterMemory       = reasonMemory
)

// Reasons for which received samples are rejected, beside those of a scrape.
const (
	RejectedTooFarAhead = tooFarAhead
	// RejectedInvalid: labels or a histogram are not valid.
	RejectedInvalid = "invalid"
	// RejectedWithOthers: the sample is good, and was refused with one that is not.
	RejectedWithOthers = "with_others"
)

type receivedKey struct{}

// WithReceived makes appends in a context those of a request.
func WithReceived(ctx context.Context, r *Received) context.Context {
	return context.WithValue(ctx, receivedKey{}, r)
}

// errLater is what upstream's handlers answer with 500, and roll the request back for.
// Nobody sees its words: who sends is told Later.
var errLater = errors.New("not now")

// NotNow returns the appender of a request, for which there is no storage at the moment.
func NotNow(ctx context.Context) storage.AppenderV2 {
	if r, ok := ctx.Value(receivedKey{}).(*Received); ok {
		r.Later = LaterStorage
	}
	return closedAppender{}
}

// closedAppender takes nothing. Nothing is lost: who sends has it still.
type closedAppender struct{}

// Append implements storage.AppenderV2.
func (closedAppender) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	return 0, errLater
}

// AppendExemplars implements storage.ExemplarAppenderV2.
func (closedAppender) AppendExemplars(storage.SeriesRef, labels.Labels, []exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, errLater
}

// Commit implements storage.AppenderV2.
func (closedAppender) Commit() error { return errLater }

// Rollback implements storage.AppenderV2.
func (closedAppender) Rollback() error { return nil }

// receivedAppender appends what a request brings: all of it, or what the storage will
// never take aside, or nothing, which the sender keeps then. So nothing counts as refused
// before the WAL that comes again.
type receivedAppender struct {
	*appender

	exemplars storage.ExemplarAppenderV2
	request   *Received
	points    []point // that were appended
	set       labels.Builder
	repeated  uint64
	// failed is why a request that is taken as a whole is not; nil: it may be. others are
	// samples that came behind the one it is for.
	failed error
	others uint64
	ended  bool
}

// received is AppenderV2 for a request.
func (in *intake) received(ctx context.Context, request *Received) storage.AppenderV2 {
	if !in.mayAppend() || in.broken.Load() {
		return NotNow(ctx)
	}
	next := in.next.AppenderV2(ctx)
	exemplars, _ := next.(storage.ExemplarAppenderV2) // the fan-out is one
	request.appender = &receivedAppender{appender: &appender{AppenderV2: next, in: in}, exemplars: exemplars, request: request}
	return request.appender
}

// Append implements storage.AppenderV2. Where a request is taken as a whole, upstream's
// handler would end at the first error: Commit returns it, when all that the sender drops
// has been counted.
func (a *receivedAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (got storage.SeriesRef, err error) {
	defer recovered(&err)
	ls = a.own(ls)
	if a.failed != nil {
		if !a.isThere(ls, t, v, h, fh) {
			a.others++
		}
		return ref, nil
	}
	begins := false
	if ref == 0 {
		a.in.newcomers.mtx.Lock()
		defer a.in.newcomers.mtx.Unlock()
		if begins, err = a.enter(ls); err != nil {
			return 0, a.fail(err)
		}
	}
	got, err = a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	switch {
	case err == nil || errors.Is(err, &storage.AppendPartialError{}):
		if begins { // it is there from here on, also if the request is taken back
			a.in.newest.begin(got, time.Now())
		}
		a.n++
		a.points = append(a.points, pointOf(got, t, v, h, fh))
		return got, err
	case errors.Is(err, storage.ErrOutOfOrderSample) && a.isThere(ls, t, v, h, fh):
		a.repeated++
		return a.in.newcomers.refOf(ls), nil
	}
	if _, invalid := errors.AsType[histogram.Error](err); invalid || errors.Is(err, tsdb.ErrInvalidSample) {
		err = errors.Join(err, &refusal{RejectedInvalid}) // of OTLP, upstream would have it sent for ever
	}
	a.reject(err)
	return got, a.fail(err)
}

// enter lets a series in that has no reference in this request yet, and reports whether it is
// a new one.
func (a *receivedAppender) enter(ls labels.Labels) (begins bool, err error) {
	if !ls.IsValid(model.UTF8Validation) { // upstream's handler of OTLP does not look
		err := &refusal{RejectedInvalid}
		a.reject(err)
		return false, err
	}
	// A request gets nothing of what is kept for small targets.
	switch reason := a.in.newcomers.refuse(ls, math.MaxUint64, false); reason {
	case "":
	case reasonTooLong, reasonTooMany:
		return false, a.refuse(reason, ls)
	default:
		return false, a.later(reason)
	}
	if a.request.First.IsEmpty() {
		a.request.First = ls.Copy()
	}
	if a.in.newcomers.refOf(ls) != 0 {
		return false, nil
	}
	if most := a.in.newcomers.limits.MaxSeries / 2; most > 0 && a.in.newest.series() >= most {
		return false, a.later(reasonMaxSeries) // the other half is for what is scraped
	}
	if !a.request.Begin() {
		return false, a.later(LaterSenderSeries)
	}
	return true, nil
}

// isThere reports whether a sample is the newest of its series: it has arrived before.
func (a *receivedAppender) isThere(ls labels.Labels, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram) bool {
	known := a.in.newcomers.refOf(ls)
	return known != 0 && a.in.newest.is(pointOf(known, t, v, h, fh))
}

// fail returns the error of a sample; nil where Commit returns it.
func (a *receivedAppender) fail(err error) error {
	if a.request.Whole && len(a.rejected) > 0 && a.request.Later == "" {
		a.failed = err
		return nil
	}
	return err
}

// AppendExemplars implements storage.ExemplarAppenderV2.
func (a *receivedAppender) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (got storage.SeriesRef, err error) {
	defer recovered(&err)
	if a.failed != nil {
		return ref, nil
	}
	return a.exemplars.AppendExemplars(ref, a.own(ls), es)
}

// own returns the labels of a series as they are stored.
func (a *receivedAppender) own(ls labels.Labels) labels.Labels {
	if a.request.Set.Name == "" {
		return ls
	}
	a.set.Reset(ls)
	return a.set.Set(a.request.Set.Name, a.request.Set.Value).Labels()
}

func (a *receivedAppender) later(reason string) error {
	a.request.Later = reason
	return errLater
}

// Commit implements storage.AppenderV2.
func (a *receivedAppender) Commit() error {
	if a.failed != nil {
		a.rejected[RejectedWithOthers] += a.n + a.others
		if a.rejected[RejectedWithOthers] == 0 {
			delete(a.rejected, RejectedWithOthers)
		}
		a.request.Failed = a.failed
		return errors.Join(a.failed, a.Rollback())
	}
	a.ended = true
	if !a.request.Admit(a.n) {
		return errors.Join(a.later(LaterSenderRate), a.appender.Rollback())
	}
	a.in.commits.RLock()
	defer a.in.commits.RUnlock()
	if a.in.broken.Load() {
		return a.later(LaterStorage)
	}
	err := guarded(a.AppenderV2.Commit)
	// As for a scrape: some of it may be on disk. The sender may send it again, which
	// the storage rejects then.
	a.in.book.Append(a.n, a.in.generation)
	a.countReceived()
	if err != nil {
		a.in.broken.Store(true)
		a.in.undecided.Store(true)
		a.in.failed(err)
		return a.later(LaterStorage)
	}
	a.request.Samples, a.request.Repeated = a.n, a.repeated
	a.in.newest.note(a.points, time.Now())
	return nil
}

// Rollback implements storage.AppenderV2. What the storage will never take is counted: the
// sender drops the request for it.
func (a *receivedAppender) Rollback() error {
	a.ended = true
	a.request.Repeated = a.repeated
	if a.failed == nil {
		a.request.Undone = a.n
	}
	if a.request.Later == "" {
		a.countReceived()
	}
	return a.appender.Rollback()
}

// countReceived enters what the storage does not take of the request. That something was
// received says nothing about scraping.
func (a *receivedAppender) countReceived() {
	a.request.Rejected = a.rejected
	for reason, n := range a.rejected {
		a.in.book.Reject(reason, n)
	}
	a.in.newcomers.dropped(a.rejected, a.offender)
	a.in.ahead.enter(a.in.book)
}
