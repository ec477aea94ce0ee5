package delivery

import (
	"context"
	"errors"
	"math"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
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

	// Samples that were committed. First has the labels of the first series of the
	// request, which tell whose it is; empty: it has none.
	Samples uint64
	First   labels.Labels
	// Rejected samples, by reason: what the storage does not take, today or tomorrow.
	Rejected map[string]uint64
	// Later is why nothing of the request was taken that may be taken later; empty: it
	// was not so.
	Later string
}

// Reasons for Received.Later, beside those for which a series is not taken.
const (
	LaterStorage      = "storage"       // the disk is full, or the agent is between two runs
	LaterSenderSeries = "sender_series" // Begin
	LaterSenderRate   = "sender_rate"   // Admit
	LaterMaxSeries    = reasonMaxSeries
	LaterMemory       = reasonMemory
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
}

// received is AppenderV2 for a request.
func (in *intake) received(ctx context.Context, request *Received) storage.AppenderV2 {
	if !in.mayAppend() || in.broken.Load() {
		return NotNow(ctx)
	}
	next := in.next.AppenderV2(ctx)
	exemplars, _ := next.(storage.ExemplarAppenderV2) // the fan-out is one
	return &receivedAppender{appender: &appender{AppenderV2: next, in: in}, exemplars: exemplars, request: request}
}

// Append implements storage.AppenderV2.
func (a *receivedAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (got storage.SeriesRef, err error) {
	defer recovered(&err)
	ls = a.own(ls)
	if a.request.First.IsEmpty() {
		a.request.First = ls.Copy()
	}
	if ref == 0 {
		a.in.newcomers.mtx.Lock()
		defer a.in.newcomers.mtx.Unlock()
		// A request gets nothing of what is kept for small targets.
		switch reason := a.in.newcomers.refuse(ls, math.MaxUint64, false); reason {
		case "":
		case reasonTooLong, reasonTooMany:
			return 0, a.refuse(reason, ls)
		default:
			return 0, a.later(reason)
		}
		if a.in.newcomers.refOf(ls) == 0 && !a.request.Begin() {
			return 0, a.later(LaterSenderSeries)
		}
	}
	got, err = a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	switch {
	case err == nil || errors.Is(err, &storage.AppendPartialError{}):
		a.n++
		a.points = append(a.points, pointOf(got, t, v, h, fh))
	case errors.Is(err, storage.ErrOutOfOrderSample):
		if known := a.in.newcomers.refOf(ls); known != 0 && a.in.newest.is(pointOf(known, t, v, h, fh)) {
			return known, nil // it has arrived before
		}
		fallthrough
	default:
		a.reject(err)
	}
	return got, err
}

// AppendExemplars implements storage.ExemplarAppenderV2.
func (a *receivedAppender) AppendExemplars(ref storage.SeriesRef, ls labels.Labels, es []exemplar.Exemplar) (got storage.SeriesRef, err error) {
	defer recovered(&err)
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
	a.request.Samples = a.n
	a.in.newest.note(a.points, a.in.newcomers.series())
	return nil
}

// Rollback implements storage.AppenderV2. What the storage will never take is counted: the
// sender drops the request for it.
func (a *receivedAppender) Rollback() error {
	if a.request.Later == "" {
		a.countReceived()
	}
	return a.appender.Rollback()
}

// countReceived enters what the storage does not take of the request.
func (a *receivedAppender) countReceived() {
	a.request.Rejected = a.rejected
	for reason, n := range a.rejected {
		a.in.book.Reject(reason, n)
	}
	a.in.newcomers.dropped(a.rejected, a.offender)
	a.in.committed()
}
