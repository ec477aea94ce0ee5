package delivery

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// destination is one remote_write entry and how far it is.
type destination struct {
	d      *Delivery
	logger log.Logger

	cancel context.CancelFunc
	done   chan struct{}

	mtx  sync.Mutex
	e    *endpoint
	mark backlog.Position
	// read is the end of what has been taken from disk into memory: eviction
	// cannot touch it any more.
	read backlog.Position
	// memory counts the samples between mark and read, by segment, oldest first.
	memory []held
	// evicted is how far eviction has gone; the reader will miss files before it.
	evicted backlog.Position
	// sent and sentUntil (milliseconds) bound what may have been sent without
	// an answer: there, "out of order" means already there.
	sent      backlog.Position
	sentUntil int64
	ledger    Ledger
	born      uint64
	bornNot   uint64

	state       State
	since       time.Time
	beat        time.Time // the last time the loop went round, or the end of its pause
	lastSuccess time.Time
	lastErr     string
	lastErrAt   time.Time
	episode     string // what the present trouble has been logged as
	rate        ewma

	manner manner // of the endpoint, learned
	// suspect: a live batch with samples that had been sent before was refused
	// as out of order. What becomes of it now tells the endpoint's manner.
	suspect bool
}

// held counts samples in memory by the segment that they come from.
type held struct {
	generation, segment int
	samples             uint64
}

// run is the destination's whole life: behind, handed over, live, and behind
// again. There is no other way to become live.
func (t *destination) run(ctx context.Context) {
	defer close(t.done)
	patient := false // the first hand-over need not wait
	for ctx.Err() == nil {
		c := t.openCursor()
		t.enter(Behind)
		if err := (&drain{destination: t, cursor: c, patient: patient}).run(ctx); err != nil {
			c.close()
			t.forgetMemory()
			return
		}
		t.enter(HandingOver)
		f, err := t.handOver(c)
		if err != nil {
			c.close()
			patient = true
			level.Warn(t.logger).Log("msg", "cannot hand over to upstream's queue, staying behind", "err", err)
			continue
		}
		t.enter(Live)
		level.Info(t.logger).Log("msg", "live: upstream's queue ships from here on", "mark", t.position())
		err = f.follow(ctx)
		f.end()
		c.close()
		t.forgetMemory()
		patient = true
		if err != nil {
			level.Warn(t.logger).Log("msg", "behind: shipping from the backlog until the endpoint keeps up again", "reason", err, "mark", t.position())
		}
	}
}

// cursor reads on in the backlog for one destination.
type cursor struct {
	reader *backlog.Reader
	sieve  *sieve
	opened backlog.Position // where reader began, or a generation after it
}

// worn tells whether so much has been read that the cursor should be opened
// anew, which forgets the series that are gone; else they would pile up for ever.
func (c *cursor) worn() bool {
	return c.reader.Position().Segment-c.opened.Segment >= cursorSegments
}

func (t *destination) openCursor() *cursor {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.read = t.mark
	return &cursor{reader: t.d.store.NewReader(t.mark), sieve: newSieve(t.e, t.d.slogger), opened: t.mark}
}

func (c *cursor) close() { c.reader.Close() }

// next reads one record. Reading and moving t.read are one step, so that
// eviction counts every sample once: as evicted, or not at all.
func (t *destination) next(c *cursor) (*backlog.Record, error) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.beat = time.Now()
	rec, err := c.reader.Next()
	if err == nil && !rec.Context && t.read.Compare(rec.End) < 0 {
		t.read = rec.End
	}
	return rec, err
}

// hold counts n samples of a record as taken into memory.
func (t *destination) hold(end backlog.Position, n uint64) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if last := len(t.memory) - 1; last >= 0 && t.memory[last].generation == end.Generation && t.memory[last].segment == end.Segment {
		t.memory[last].samples += n
		return
	}
	t.memory = append(t.memory, held{end.Generation, end.Segment, n})
}

// onlyInMemory counts the samples that have been evicted from disk while they
// were in memory. Callers hold mtx.
func (t *destination) onlyInMemory() (n uint64) {
	for _, h := range t.memory {
		if (backlog.Position{Generation: h.generation, Segment: h.segment}).Compare(t.evicted) < 0 {
			n += h.samples
		}
	}
	return n
}

// forgetMemory is called when what was read and not settled is given up, to be
// read again; what has been evicted since cannot be.
func (t *destination) forgetMemory() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.ledger.Evicted += t.onlyInMemory()
	t.memory = nil
}

// settle moves the mark to end and enters what became of the samples before it.
func (t *destination) settle(end backlog.Position, n tally) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.mark.Compare(end) < 0 {
		t.mark = end
	}
	n.enter(&t.ledger)
	settled := n.total()
	t.rate.add(settled)
	for len(t.memory) > 0 {
		m := min(settled, t.memory[0].samples)
		t.memory[0].samples -= m
		settled -= m
		if t.memory[0].samples > 0 {
			break
		}
		t.memory = t.memory[1:]
	}
}

// evict moves the mark past what is about to be deleted.
func (t *destination) evict(to backlog.Position) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	from := t.mark
	if from.Compare(t.read) < 0 {
		from = t.read
	}
	if t.evicted.Compare(to) < 0 {
		t.evicted = to
	}
	if from.Compare(to) >= 0 {
		return
	}
	n, err := t.d.store.Count(from, to)
	if err != nil {
		level.Error(t.logger).Log("msg", "cannot count what is evicted", "err", err)
	}
	t.ledger.Evicted += n.Samples()
	if t.mark.Compare(to) < 0 {
		t.mark = to
	}
	t.read = to
	level.Warn(t.logger).Log("msg", "the oldest unsent samples were evicted to keep the storage budget", "samples", n.Samples(), "up_to", to)
}

func (t *destination) enter(s State) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.state != s {
		t.state, t.since = s, time.Now()
		t.rate = ewma{}
	}
	t.beat = time.Now()
}

func (t *destination) position() backlog.Position {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.mark
}

// pause returns false when ctx ends before d is over. An endpoint that wants to
// be left alone does not make the loop look stuck.
func (t *destination) pause(ctx context.Context, d time.Duration) bool {
	t.mtx.Lock()
	t.beat = time.Now().Add(d)
	t.mtx.Unlock()
	return sleep(ctx, d)
}

// endpoint is the configuration in force; a reload may have renewed its secrets.
func (t *destination) endpoint() *endpoint {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.e
}

// renew takes over the secrets of an entry that is the same otherwise, and
// returns what is in force then: what a 413 has taught stays.
func (t *destination) renew(e *endpoint) *endpoint {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.e = e.withBatchSize(t.e.cfg.QueueConfig.MaxSamplesPerSend)
	return t.e
}

// succeeded notes an acknowledgement, and ends an episode of trouble.
func (t *destination) succeeded() {
	t.mtx.Lock()
	episode := t.episode
	t.episode = ""
	t.lastSuccess = time.Now()
	t.beat = t.lastSuccess
	t.mtx.Unlock()
	if episode != "" {
		level.Info(t.logger).Log("msg", "the endpoint acknowledges again", "was", episode)
	}
}

// failed notes an answer that is not an acknowledgement. Each kind is logged
// once in an episode, in the endpoint's own words.
func (t *destination) failed(kind, words string) {
	t.mtx.Lock()
	t.lastErr, t.lastErrAt = words, time.Now()
	t.beat = t.lastErrAt
	logged := t.episode == kind
	t.episode = kind
	t.mtx.Unlock()
	if !logged {
		level.Error(t.logger).Log("msg", "the endpoint did not acknowledge", "kind", kind, "err", words)
	}
}

func (t *destination) status() Status {
	appended, notAppended := t.d.intake.totals()
	t.mtx.Lock()
	s := Status{
		Name:        t.e.name,
		URL:         redactURL(t.e.cfg.URL),
		State:       t.state,
		Since:       t.since,
		LastError:   t.lastErr,
		Ledger:      t.ledger.clone(),
		LastSuccess: moment(t.lastSuccess),
		LastErrorAt: moment(t.lastErrAt),
	}
	s.Ledger.Appended = appended - t.born
	s.Ledger.NotAppended = notAppended - t.bornNot
	mark, inMemory := t.mark, t.onlyInMemory()
	drained := t.rate.perSecond()
	t.mtx.Unlock()

	n, bytes, oldest, _ := t.d.store.Pending(mark)
	s.BacklogSamples, s.BacklogBytes = n.Samples()+inMemory, bytes
	s.Ledger.OnDisk = s.BacklogSamples
	if oldest > 0 && n.Samples() > 0 {
		s.OldestUnsent = moment(time.UnixMilli(oldest))
	}
	if s.State == Behind {
		s.CatchUpRate = drained
		s.ETASeconds = -1
		if gain := drained - t.d.intake.rate(); gain > 0 {
			s.ETASeconds = float64(s.BacklogSamples) / gain
		}
		if s.BacklogSamples == 0 {
			s.ETASeconds = 0
		}
	}
	return s
}

func (t *destination) saved() SavedDestination {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	sent := t.sent
	if sent.Compare(t.read) < 0 {
		sent = t.read
	}
	s := SavedDestination{
		URL: redactURL(t.e.cfg.URL), Mark: t.mark, Sent: sent,
		Born: t.born, BornNotAppended: t.bornNot, Ledger: t.ledger.clone(),
	}
	s.Ledger.Evicted += t.onlyInMemory() // a crash would lose them
	return s
}

// alive returns an error when the loop has not gone round for longer than a
// request and the given time may take.
func (t *destination) alive(within time.Duration) error {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if stuck := time.Since(t.beat); stuck > within+time.Duration(t.e.cfg.RemoteTimeout) {
		return fmt.Errorf("delivery to %q has made no step for %s", t.e.name, stuck.Round(time.Second))
	}
	return nil
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
