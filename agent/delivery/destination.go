package delivery

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
)

// destination is one remote_write entry and how far it is.
type destination struct {
	*shared

	name    string
	logger  log.Logger
	account *ledger.Account
	done    chan struct{} // closed when run has returned

	// lateSent: something was sent beside the queue, so that what the drainer
	// delivered last of a series need not be the newest that the endpoint has of it.
	lateSent atomic.Bool

	// mtx guards what follows. It is held for moments only: never over I/O, nor
	// over a call of anything but the machine.
	mtx      sync.Mutex
	endpoint *remotewrite.Endpoint // in force
	requests requestSize
	machine  *machine
	left     eventKind // why run is to end: stopped or reconfigured
	stop     context.CancelFunc

	beat        time.Time // the last time the loop went round, or the end of its pause
	lastSuccess time.Time
	lastErr     string
	noClient    string // why there is no client to ask the endpoint with
	lastErrAt   time.Time
	episode     string // what the last answer was, if it was no acknowledgement
	trouble     trouble
	settled     ewma

	doubtful *suspicion // see partial_writes.go

	// leftOut is how many series are left out of the backlog, and whyLeftOut what is
	// to be said of them; see unwanted.
	leftOut    int
	whyLeftOut string
	// seriesRefused is when a live batch was refused last for what a series is.
	seriesRefused time.Time
}

func newDestination(s *shared, e *remotewrite.Endpoint, a *ledger.Account) *destination {
	now := time.Now()
	t := &destination{
		shared: s, name: e.Name, endpoint: e, account: a,
		logger:  log.With(s.logger, "destination", e.Name),
		done:    make(chan struct{}),
		machine: newMachine(s.minStay, now), requests: requestSize{pause: s.minStay / growthPause},
		left: stopped, beat: now,
	}
	if a.StoresPartial() == version(e) {
		t.machine.partial = partialStored
	}
	return t
}

// version of remote write that an endpoint is sent. A receiver has a handler for each.
func version(e *remotewrite.Endpoint) string {
	if e.V2 {
		return "2.0"
	}
	return "1.0"
}

// leave ends the destination's life; done says when.
func (t *destination) leave(why eventKind) {
	t.mtx.Lock()
	t.left = why
	t.mtx.Unlock()
	t.stop()
}

// on asks the machine, at this moment.
func (t *destination) on(e event) decision {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	before := t.machine.state
	d := t.machine.On(e, time.Now())
	if t.machine.state != before {
		t.settled = ewma{}
		t.beat = time.Now()
	}
	return d
}

func (t *destination) isLive() bool {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.machine.state == Live
}

// cursor reads on in the backlog for one destination.
type cursor struct {
	reader    *backlog.Reader
	selection *selection.Selector
	opened    backlog.Position // where reader began, or a generation after it
}

// cursorSegments is after how many segments a cursor is opened anew, which
// forgets the series that are gone; else they would pile up for ever.
const cursorSegments = 16

func (t *destination) openCursor(e *remotewrite.Endpoint) *cursor {
	at := t.account.Mark()
	return &cursor{reader: t.store.NewReader(at), selection: selection.New(e, t.slogger), opened: at}
}

func (c *cursor) worn() bool {
	return c.reader.Position().Segment-c.opened.Segment >= cursorSegments
}

// reopen begins anew at a position in the middle of what is not settled. The series
// are told again: the caller forgets them.
func (c *cursor) reopen(store *backlog.Store, at backlog.Position) {
	c.close()
	c.opened, c.reader = at, store.NewReader(at)
}

func (c *cursor) close() { c.reader.Close() }

// settle moves the mark to end and enters what became of the samples before it.
func (t *destination) settle(end backlog.Position, o ledger.Outcome) {
	t.account.Settle(end, o)
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.settled.add(o.Total())
}

// seriesLost is the ledger's reason for samples whose series record is lost.
const seriesLost = "series_lost"

// reconcile compares the ledger with the disk at a moment when everything up to
// a position has been read and settled: samples that were appended and are not
// on disk are lost, and the ledger says so. Not after a commit that failed: upstream
// writes what it left in memory when the WAL is closed, if there is room again, and the
// next run would count and deliver what was lost. It is that run that finds out.
func (t *destination) reconcile(at backlog.Position) {
	if t.account.Unread() == 0 {
		return
	}
	var residue int64
	t.intake.atRest(t.store.End, func(end backlog.Position) {
		if at.Compare(end) >= 0 && !t.intake.undecided.Load() {
			t.account.Settle(at, ledger.Outcome{}) // padding, and series
			residue = t.account.Drained(at)
		}
	})
	if residue != 0 {
		level.Error(t.logger).Log("msg", "What is on disk is not what was appended", "samples_missing", residue, "at", at)
	}
}

// breathe notes that the loop has gone round.
func (t *destination) breathe() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.beat = time.Now()
}

// pause returns false when ctx ends before d is over. An endpoint that wants to
// be left alone does not make the loop look stuck.
func (t *destination) pause(ctx context.Context, d time.Duration) bool {
	t.mtx.Lock()
	t.beat = time.Now().Add(d)
	t.mtx.Unlock()
	return sleep(ctx, d)
}

// inForce is the configuration in force; a reload may have renewed its secrets.
func (t *destination) inForce() *remotewrite.Endpoint {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.endpoint
}

// renew takes over the secrets of an entry that is the same otherwise. A live queue
// asks for them before its next request: see follower.entry.
func (t *destination) renew(e *remotewrite.Endpoint) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.endpoint = e
}

// succeeded notes an acknowledgement, and ends an episode of trouble.
func (t *destination) succeeded() {
	t.mtx.Lock()
	t.episode = ""
	t.lastSuccess = time.Now()
	t.beat = t.lastSuccess
	line := t.trouble.acknowledged(t.lastSuccess)
	was := t.trouble
	if line == troubleEnds {
		t.trouble = trouble{}
	}
	t.mtx.Unlock()
	switch line {
	case troubleEases:
		level.Info(t.logger).Log("msg", "The endpoint acknowledges again", "was", strings.Join(was.kinds, ", "))
	case troubleEnds:
		level.Info(t.logger).Log("msg", "The endpoint acknowledges all requests again", "was", strings.Join(was.kinds, ", "), "requests", was.failures, "within", was.last.Sub(was.begun).Round(time.Second))
	}
}

// failed notes an answer that is not an acknowledgement. Each kind is logged once in
// an episode of trouble, in the endpoint's own words; see trouble.
func (t *destination) failed(kind, words string) {
	t.mtx.Lock()
	t.lastErr, t.lastErrAt = words, time.Now()
	t.beat = t.lastErrAt
	t.episode = kind
	line := t.trouble.failed(kind, t.lastErrAt)
	now := t.trouble
	t.mtx.Unlock()
	switch line {
	case troubleBegins:
		if remotewrite.NotSent(words) {
			level.Error(t.logger).Log("msg", "No request can be made", "err", words)
			break
		}
		level.Error(t.logger).Log("msg", "The endpoint did not acknowledge", "kind", kind, "err", words)
	case troubleGoesOn:
		level.Warn(t.logger).Log("msg", "The endpoint still does not acknowledge all requests", "kind", kind, "err", words, "requests", now.failures, "since", now.begun.UTC().Format(time.RFC3339))
	}
}

// alive returns an error when the loop has not gone round for longer than a
// request and the given time may take.
func (t *destination) alive(within time.Duration) error {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if stuck := time.Since(t.beat); stuck > within+time.Duration(t.endpoint.Config.RemoteTimeout) {
		return fmt.Errorf("delivery to %q has made no step for %s", t.name, stuck.Round(time.Second))
	}
	return nil
}
