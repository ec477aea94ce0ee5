package delivery

import (
	"context"
	"math"
	"time"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// witnessesAsked is how many series are sent by themselves. Two have to agree, as
	// somebody else may write ahead of us in one.
	witnessesAsked = 4
	// witnessPauses is how many times the shortest stay behind is waited for samples that the
	// endpoint does not have.
	witnessPauses = 4
)

// hearing is what came of the questions to witnesses.
type hearing struct {
	*drain

	// there is a sample that the endpoint refuses, as it has a newer one of its series; nil:
	// none is known.
	there  *remotewrite.Item
	agreed int // witnesses that say that partial writes are stored
}

// askWitnesses finds out what the endpoint does with partial writes, where samples may have
// been sent in another order than that of the WAL. A batch from there does not tell it: all
// of it may be there from before. But as long as it is not known, each of its samples is a
// question of its own, which takes hours where the endpoint is far away.
//
// So some series are followed by themselves, oldest sample first. Those that are there are
// refused. The first that is taken is the newest that is there, or new: what comes behind
// it, the endpoint does not have. Of that, two samples are sent with one that it refuses,
// and then the older of the two alone: it is refused where the newer one was stored.
//
// The batches begin at the mark all the same, and what the witnesses have delivered is in
// them. The account knows of which series that is (Asked).
func (d *drain) askWitnesses(ctx context.Context) error {
	d.mtx.Lock()
	worth := d.machine.partial == partialUnknown && d.doubtful == nil
	d.mtx.Unlock()
	if !worth || d.account.Unordered().Compare(d.account.Mark()) <= 0 {
		return nil
	}
	h := hearing{drain: d}
	err := h.hear(ctx)
	d.cursor.reopen(d.store, d.account.Mark())
	d.cursor.selection.Forget()
	d.asked = d.account.Asked()
	return err
}

// readWitnesses reads on to the end of the WAL.
func (d *drain) readWitnesses(ctx context.Context, ws *witnesses) error {
	s := d.cursor.selection
	for ctx.Err() == nil {
		d.breathe()
		rec, err := d.cursor.reader.Next()
		switch {
		case err != nil: // the end, or what cannot be read, as the drainer says then
			return nil
		case rec.Kind == backlog.Generation:
			s.Forget()
			continue
		case rec.Kind != backlog.Data || s.Read(rec) != nil || rec.Context:
			continue
		}
		now := time.Now()
		oldest := int64(math.MinInt64)
		if limit := d.inForce().AgeLimit; limit > 0 {
			oldest = now.Add(-limit).UnixMilli()
		}
		if d.overtaken > 0 {
			oldest = max(oldest, d.overtaken+1)
		}
		ws.read(s.Items, rec.End, oldest, now.Add(goesOn).UnixMilli())
	}
	return ctx.Err()
}

// hear asks witnesses until two agree, or it is known that the endpoint rolls back, and
// waits for a while for samples that it does not have.
func (h *hearing) hear(ctx context.Context) error {
	ws := newWitnesses()
	var chosen []*witness
	var until time.Time
	for {
		changed := h.store.Changed()
		if err := h.readWitnesses(ctx, ws); err != nil {
			return err
		}
		if !ws.chosen {
			chosen = ws.choose(witnessesAsked)
		}
		if done, err := h.askSome(ctx, chosen); done || err != nil {
			return err
		}
		if until.IsZero() {
			until = time.Now().Add(witnessPauses * h.minStay)
		}
		left := time.Until(until)
		if h.there == nil || left <= 0 {
			return nil // nothing is there, as far as anybody can say, or nothing comes any more
		}
		wait(ctx, changed, nil, left)
	}
}

// askSome asks witnesses, two of those that may tell something. done: it is known now what the
// endpoint does, or none will tell it.
func (h *hearing) askSome(ctx context.Context, chosen []*witness) (done bool, err error) {
	promising := 0
	for i := 0; i < len(chosen) && promising < 2; i++ {
		if err := h.follow(ctx, chosen[i]); err != nil {
			return false, err
		}
		for _, w := range chosen[:i+1] {
			if known, err := h.tell(ctx, w); known || err != nil {
				return known, err
			}
		}
		if !chosen[i].unfit {
			promising++
		}
	}
	return promising == 0, nil
}

// follow sends a witness' samples one by one up to the first that is taken.
func (h *hearing) follow(ctx context.Context, w *witness) error {
	for !w.unfit && !w.caught && w.asked < len(w.items) {
		r, err := h.sendNext(ctx, w)
		switch {
		case err != nil:
			return err
		case r == nil:
			w.caught = true
		case remotewrite.AlreadyThere(r.Body):
			h.there = &w.items[w.asked]
		default:
			w.unfit = true
		}
		w.asked++
	}
	return nil
}

// tell sends two samples that the endpoint does not have with one that it refuses, then the
// older by itself, and reports whether it is known now what the endpoint does.
func (h *hearing) tell(ctx context.Context, w *witness) (known bool, err error) {
	if h.there == nil || w.unfit || w.told || !w.fresh() {
		return false, nil
	}
	w.unfit = true // unless it says something clear
	r, err := h.sendOf(ctx, w, *h.there, w.items[w.asked], w.items[w.asked+1])
	if err != nil || r == nil || !remotewrite.AlreadyThere(r.Body) {
		return false, err
	}
	older, err := h.sendNext(ctx, w)
	if err != nil || older != nil && !remotewrite.AlreadyThere(older.Body) {
		return false, err
	}
	w.asked++
	// In either case it takes the newer one: it has that, or not. If not, somebody else
	// writes this series ahead of us.
	newer, err := h.sendNext(ctx, w)
	if err != nil || newer != nil {
		return false, err
	}
	w.asked++
	if older == nil {
		h.learnPartial(partialRolledBack)
		return true, nil
	}
	w.unfit, w.told = false, true
	h.agreed++
	if h.agreed == 2 {
		h.learnPartial(partialStored)
	}
	return h.agreed == 2, nil
}

// sendNext sends the next sample of a witness by itself.
func (h *hearing) sendNext(ctx context.Context, w *witness) (*remotewrite.Refusal, error) {
	return h.sendOf(ctx, w, w.items[w.asked])
}

// sendOf sends items of which the last are the next ones of a witness.
func (h *hearing) sendOf(ctx context.Context, w *witness, items ...remotewrite.Item) (*remotewrite.Refusal, error) {
	h.end = w.ends[min(w.asked+1, len(w.ends)-1)]
	h.account.MaySent(h.end)
	if err := h.drain.ask(ctx, items); err != nil {
		return nil, err
	}
	return h.sendUntilAnswered(ctx, items)
}
