package delivery

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// batchBytes bounds a request before compression. Endpoints refuse compressed
// bodies over 1 MiB (nginx in front of Opstrace), some three times of this.
const batchBytes = 2 << 20

// batch is a stretch of the WAL on its way to the endpoint.
type batch struct {
	items   []remotewrite.Item
	size    remotewrite.Size
	end     backlog.Position
	outcome ledger.Outcome
	begun   time.Time
	earlier
}

// earlier says what may have become of a stretch of the WAL before.
type earlier struct {
	// resent: it may have been sent before without an answer.
	resent bool
	// unordered: and what lies before it in the WAL need not have been. asked: that goes for
	// some series. late: late samples of it were sent beside the others.
	unordered, asked, late bool
	// heard: some of its samples may be those of witnesses; see drain.heard.
	heard bool
	// refused: samples in it or beside it may have been refused for good, and newer ones taken
	// since: what is there need not be there for having been taken.
	refused bool
}

func (d *drain) earlier(at backlog.Position) earlier {
	return earlier{
		resent:    at.Compare(d.account.Sent()) < 0,
		unordered: at.Compare(d.account.Unordered()) < 0,
		asked:     at.Compare(d.asked.Before) < 0,
		late:      at.Compare(d.late.Before) < 0,
		heard:     at.Compare(d.heard) < 0,
		refused:   at.Compare(d.refused) < 0,
	}
}

// drain ships the backlog of a destination that is behind: one ordered stream,
// one request in flight, oldest first.
type drain struct {
	*sender

	cursor *cursor
	batch  batch
	// asked and late are what was sent beside the others before the drainer began. What it
	// sends so of a batch itself goes for no other batch.
	asked ledger.Asked
	late  ledger.Late
	// witnessed is what the endpoint has of some series in records before heard, by
	// labels.StableHash; see askWitnesses.
	witnessed map[uint64]period
	heard     backlog.Position
	// refused is where that ends which was refused before the drainer began; see earlier.
	refused backlog.Position
	// asking is the generation from which on witnesses were asked last.
	asking int
	// inParts: what was sent last of what need not have been sent in order was not taken
	// whole, or nothing was sent of that.
	inParts bool
}

// fewAtOnce is how many samples are sent together that may have to be asked about one by
// one: with many, a run that ends before the last of them has got nowhere.
const fewAtOnce = 100

func newDrain(t *destination, delivered []remotewrite.Item) *drain {
	return &drain{sender: newSender(t, delivered), cursor: t.openCursor(t.inForce()), asked: t.account.Asked(), late: t.account.Late(), refused: t.account.Refused(), inParts: true}
}

// run returns nil when everything on disk has been acknowledged or given up and
// the destination is to be handed over, and an error when ctx ends.
func (d *drain) run(ctx context.Context) error {
	if err := d.askWitnesses(ctx); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			d.flushAtStop()
			return err
		}
		d.breathe()
		rec, err := d.cursor.reader.Next()
		switch {
		case errors.Is(err, io.EOF):
			handOver, err := d.atEnd(ctx)
			if err != nil || handOver {
				return err
			}
			continue
		case err != nil:
			level.Error(d.logger).Log("msg", "Cannot read the backlog, trying again", "err", err)
			if !sleep(ctx, time.Second) {
				return ctx.Err()
			}
			continue
		}
		if err := d.take(ctx, rec); err != nil {
			return err
		}
		// Only when all that was read is settled: items share the cursor's series.
		if d.cursor.worn() && d.batch.end.IsZero() {
			d.readFrom(d.cursor.reader.Position())
		}
	}
}

// readFrom begins to read anew at a position. The series are told again.
func (d *drain) readFrom(at backlog.Position) {
	d.cursor.reopen(d.store, at)
	d.cursor.selection.Forget()
}

// atEnd is reached when everything on disk has been read.
func (d *drain) atEnd(ctx context.Context) (bool, error) {
	changed := d.store.Changed()
	leaving := d.mayHandOver()
	full := !d.batch.begun.IsZero() && time.Since(d.batch.begun) >= time.Duration(d.inForce().Config.QueueConfig.BatchSendDeadline)
	if leaving || full {
		if err := d.flush(ctx); err != nil {
			return false, err
		}
	}
	// The batch may have told of a reason to stay.
	if leaving && d.mayHandOver() && d.on(event{kind: drained}).do == handOver {
		return true, nil
	}
	if d.batch.end.IsZero() {
		d.reconcile(d.cursor.reader.Position())
	}
	wait(ctx, changed, nil, d.nextLook())
	return false, nil
}

// growthLook is how often it is looked whether requests may be larger again.
const growthLook = 250 * time.Millisecond

// nextLook is how long nothing is to be done unless something is committed: to the
// deadline of the batch, if there is one, and until the destination may be handed over,
// where only the time is missing for that.
func (d *drain) nextLook() time.Duration {
	now, next := time.Now(), pulse.Next(time.Second)
	d.mtx.Lock()
	defer d.mtx.Unlock()
	if left := d.machine.staysFor(now); left > 0 {
		next = min(next, left)
	}
	if d.requests.recovering() {
		next = min(next, growthLook)
	}
	if !d.batch.begun.IsZero() {
		next = min(next, time.Duration(d.endpoint.Config.QueueConfig.BatchSendDeadline)-now.Sub(d.batch.begun))
	}
	return max(next, 0)
}

// mayHandOver reports whether the destination has been behind for long enough, and
// its requests have the size again that they had before a 413: a queue keeps the
// size that it was started with. Nor does a queue leave out what an endpoint refuses.
func (d *drain) mayHandOver() bool {
	d.resize((*requestSize).passed)
	d.mtx.Lock()
	stayed, doubt := d.machine.stayed(time.Now()) && !d.requests.recovering(), d.doubtful
	d.mtx.Unlock()
	// Upstream's queue would read a WAL that this run does not have.
	return stayed && d.unwanted.quiet(time.Now()) && !doubt.blocks(d.store) && d.store.Unwritable() == nil
}

// take adds one record to the batch and sends the batch when it is full, or
// when what follows must not be in one request with it.
func (d *drain) take(ctx context.Context, rec *backlog.Record) error {
	s := d.cursor.selection
	if rec.Kind != backlog.Data {
		return d.takeGap(ctx, rec)
	}
	if err := s.Read(rec); err != nil {
		level.Error(d.logger).Log("msg", "A record of the WAL was lost", "err", err)
		if rec.Context {
			return nil
		}
		d.batch.outcome.DamagedBytes += uint64(len(rec.Data))
		d.batch.outcome.LostStretches++
		d.batch.end = rec.End
		return d.flush(ctx)
	}
	if rec.Context || !d.hold(rec) {
		return nil
	}
	was := d.earlier(rec.Pos)
	// Exemplars go with the samples that were committed before them: receivers
	// refuse them alone (2.0).
	if rec.Type != record.Exemplars && (was != d.batch.earlier || d.full(len(s.Items))) {
		if err := d.flush(ctx); err != nil {
			return err
		}
	}
	b := &d.batch
	b.earlier = earlier{b.resent || was.resent, b.unordered || was.unordered, b.asked || was.asked, b.late || was.late, b.heard || was.heard, b.refused || was.refused}
	if b.begun.IsZero() {
		b.begun = time.Now()
	}
	for i := range s.Items {
		s.Items[i].Order = uint32(len(b.items) + i)
	}
	b.items = append(b.items, s.Items...)
	b.size.Add(s.Items)
	b.end = rec.End
	b.outcome.Doubt(seriesLost, s.Unknown)
	for reason, n := range s.Filtered() {
		b.outcome.Filter(reason, n)
	}
	// With nothing to send, the mark moves at once: it may be long until there is.
	if len(b.items) == 0 {
		return d.flush(ctx)
	}
	return nil
}

// hold takes the samples of a record that was read last into memory, and
// reports whether they are the destination's to send: false means that they
// have been evicted meanwhile, and counted so.
func (d *drain) hold(rec *backlog.Record) bool {
	s := d.cursor.selection
	return d.account.Hold(rec.Pos, rec.End, s.Samples(), scrapedAt(s.Newest(), time.Now()))
}

// scrapedAt returns when a record was scraped whose newest sample has a time, in
// milliseconds. Its oldest one would tell how far back its target dates samples, which is
// no time that they have waited; a scrape's own samples have the time of the scrape. Where
// a target dates all of a record to 1970 or before, it is read about when it was scraped:
// the ledger takes 0 for nothing that waits.
func scrapedAt(newest int64, read time.Time) int64 {
	if newest <= 0 {
		return read.UnixMilli()
	}
	return min(newest, read.UnixMilli())
}

// full reports whether the batch has no room for more items.
func (d *drain) full(more int) bool {
	n := len(d.batch.items)
	enough := max(batchFactor*d.inForce().BatchSize(), enoughOfSeries*d.batch.size.Series())
	if d.batch.unordered && d.inParts && !d.storesPartialWrites() {
		enough = min(enough, fewAtOnce)
	}
	return n > 0 && (n+more > min(d.most(), d.memory.shrunk(enough)) || d.batch.size.Bytes() >= d.memory.shrunk(batchBytes))
}

// takeGap handles what is not data. The batch goes first.
func (d *drain) takeGap(ctx context.Context, rec *backlog.Record) error {
	if rec.Kind == backlog.Generation {
		if err := d.flush(ctx); err != nil {
			return err
		}
		d.account.Crossed(rec.End.Generation)
		d.cursor.selection.Forget()
		d.cursor.opened = rec.End
		return d.askAnew(ctx, rec.End.Generation)
	}
	if rec.Kind == backlog.Missing && rec.End.Compare(d.account.Evicted()) <= 0 {
		return nil // known, and counted
	}
	level.Error(d.logger).Log("msg", "A part of the backlog cannot be read, going on behind it", "from", rec.Pos, "to", rec.End, "bytes", rec.Lost, "err", rec.Err)
	if rec.Context {
		return nil
	}
	d.batch.outcome.DamagedBytes += uint64(max(rec.Lost, 0))
	d.batch.outcome.LostStretches++
	d.batch.end = rec.End
	return d.flush(ctx)
}

// flush sends the batch and moves the mark behind it. It returns only when
// every item has been acknowledged or given up, or with an error when ctx ends.
func (d *drain) flush(ctx context.Context) error {
	b := &d.batch
	if b.end.IsZero() {
		return nil
	}
	d.account.MaySent(b.end)
	d.end = b.end
	calm, cancel := graceful(ctx)
	defer cancel()
	b.items = d.leaveWitnessed(b)
	if err := d.settleDoubt(calm, b.items, b.resent); err != nil {
		return err
	}
	items, err := d.leaveOut(calm, d.dropOld(b), b.earlier, &b.outcome)
	if err != nil {
		return err
	}
	gaveUp := false
	for _, p := range d.parts(items) {
		// What is refused of the late ones may be so for their time: it tells nothing of
		// the others.
		s := d.newSearch(p.items)
		s.asked, s.overtaken = s.asked || p.perhaps, s.overtaken || p.perhaps
		s.unproven = s.overtaken || b.refused
		if err := d.deliver(calm, p, s, &b.outcome); err != nil {
			if b.gaveUp(s) {
				d.account.WasRefused(b.end) // for who sends it again
			}
			return err
		}
		gaveUp = gaveUp || b.gaveUp(s)
		d.learnBudget(s)
		d.learnUnwanted(s)
		if p.unordered && (s.reason != "" || len(p.items) >= fewAtOnce/2) { // one sample tells nothing
			d.inParts = s.reason != ""
		}
	}
	d.settle(b.end, b.outcome)
	b.size.Reset()
	d.batch = batch{items: reuse(b.items), size: b.size}
	if gaveUp {
		return d.wasRefused(calm, d.end)
	}
	return nil
}

// gaveUp reports whether samples were given up that an endpoint which takes newer ones of
// their series refuses for these from then on. Where it is for what a series is, it is so with
// the newer ones, too.
func (b *batch) gaveUp(s *search) bool {
	return s.gaveUp || b.outcome.Refused[remotewrite.OutOfOrder]+b.outcome.Uncertain[remotewrite.OutOfOrder] > 0
}

// leaveWitnessed counts what the witnesses have delivered of the batch, and returns its other
// items. It comes before all that drops samples: these were sent.
func (d *drain) leaveWitnessed(b *batch) []remotewrite.Item {
	if len(d.witnessed) == 0 || !b.heard {
		return b.items
	}
	at := partition(b.items, func(it *remotewrite.Item) bool {
		p, was := d.witnessed[labels.StableHash(it.Series.Labels)]
		return !was || !p.has(it.T) || d.overtaken.Load().Has(b.end.Generation, it.T)
	})
	b.outcome.Delivered += remotewrite.Samples(b.items[at:])
	return b.items[:at]
}

// parts returns items of the batch as what is sent one after the other.
func (d *drain) parts(items []remotewrite.Item) []part {
	b := &d.batch
	whole := part{items: remotewrite.Group(items), before: b.resent, resent: b.resent, unordered: b.unordered}
	if b.unordered {
		return []part{whole}
	}
	var parts []part
	if b.asked {
		asked, others := whole.aside(d.asked)
		parts, whole = append(parts, asked), others
	}
	if b.late {
		return append(parts, whole.apart(d.late)...)
	}
	whole.last = lastInOrder(whole.items, time.Now().UnixMilli())
	return append(parts, whole)
}

// reuse returns an empty slice with the memory of items, if that is not out of
// proportion to what was in it: one large scrape must not cost memory for ever.
func reuse(items []remotewrite.Item) []remotewrite.Item {
	if cap(items) > 4*len(items)+1024 {
		return nil
	}
	clear(items) // of histograms and labels
	return items[:0]
}

// flushAtStop gives what has been read one chance: with a healthy endpoint
// nothing is then sent twice.
func (d *drain) flushAtStop() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	d.mtx.Lock()
	healthy := d.episode == ""
	d.mtx.Unlock()
	if healthy {
		_ = d.flush(ended) // else the mark stays, and the batch is sent again
	}
}

// dropOld applies sample_age_limit.
func (d *drain) dropOld(b *batch) []remotewrite.Item {
	limit := d.inForce().AgeLimit
	if limit == 0 {
		return b.items
	}
	oldest := time.Now().Add(-limit).UnixMilli()
	kept := b.items[:0]
	for _, it := range b.items {
		if it.T >= oldest {
			kept = append(kept, it)
		} else if it.Kind != remotewrite.Exemplar {
			b.outcome.Filter(selection.TooOld, 1)
		}
	}
	return kept
}
