package delivery

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	// witnessesAsked is how many series are sent by themselves at a time: they have to agree
	// that partial writes are stored, as somebody else may write ahead of us in one. Of
	// mostWitnesses, one takes the place of another that tells nothing.
	witnessesAsked = 2
	mostWitnesses  = 8
	// mostAskedAhead is how many of their samples are sent at the most: two series at 15 s
	// for more than an hour.
	mostAskedAhead = 600
	// mostIdle is how many samples of others are read in search of the next one of theirs:
	// what some seconds are enough for.
	mostIdle = 2_000_000
	// witnessPauses is how many times the shortest stay behind is waited for samples that the
	// endpoint does not have; the longest lag of a live destination, if that is shorter.
	witnessPauses = 6
)

// hearing is what has come of the questions to witnesses.
type hearing struct {
	*drain

	candidates *candidates // nil: the witnesses are chosen
	witnesses  []*witness
	// sent is how far samples may have been sent before: none of ours is there behind it.
	sent   backlog.Position
	there  bool // some of what was asked about is
	agreed int  // witnesses that say that partial writes are stored
	asked  int  // samples
	idle   int  // samples that were read since the last of a witness
}

// askWitnesses finds out what the endpoint does with partial writes, where samples may have
// been sent in another order than that of the WAL, be it all, those of some series or late
// ones. A batch from there does not tell it: all of it may be there from before. But as long
// as it is not known, each such sample is a question of its own, which takes hours where the
// endpoint is far away.
//
// So some series are followed from the mark on by themselves, oldest sample first. Those
// that are there are refused. The first that is taken is the newest that is there, or new:
// what comes behind it, the endpoint does not have. Once the next one is there, too, it
// refuses that first one. So two more are sent with it, and then the older of the two alone:
// it is refused where the newer one was stored.
//
// The batches begin at the mark all the same, and what the witnesses have delivered is left
// out of them (witnessed). For the next run, the account knows of which series that is
// (Asked).
func (d *drain) askWitnesses(ctx context.Context) error {
	d.mtx.Lock()
	unknown := d.machine.partial == partialUnknown && d.doubtful == nil
	d.mtx.Unlock()
	mark := d.account.Mark()
	each := d.account.Unordered().Compare(mark) > 0 || d.asked.Before.Compare(mark) > 0 || d.late.Unordered && d.late.Before.Compare(mark) > 0
	if !unknown || !each || d.account.RoomToAsk() < mostWitnesses {
		return nil
	}
	d.asking = max(d.asking, mark.Generation)
	h := hearing{drain: d, candidates: newCandidates(), sent: d.account.Sent()}
	err := h.hear(ctx)
	d.witnessed, d.heard = witnessed(h.witnesses), d.cursor.reader.Position()
	d.readFrom(d.account.Mark())
	d.asked = d.account.Asked()
	return err
}

// askAnew has witnesses asked at the begin of a generation, where those before could not tell
// it: what a clock dated that had been set back is refused either way, and what comes behind
// it is hours away.
func (d *drain) askAnew(ctx context.Context, generation int) error {
	if generation <= d.asking || len(d.witnessed) > 0 && d.heard.Compare(d.account.Mark()) > 0 {
		return nil
	}
	d.asking = generation
	return d.askWitnesses(ctx)
}

// hear reads the backlog, and has the witnesses in it asked, until it is known what the
// endpoint does, or none can tell it. Where some of it is there, it waits for a while for
// samples that cannot be.
func (h *hearing) hear(ctx context.Context) error {
	var until time.Time
	for {
		if err := ctx.Err(); err != nil || h.idle > mostIdle {
			return err
		}
		h.breathe()
		if h.cursor.worn() {
			h.readFrom(h.cursor.reader.Position())
		}
		changed := h.store.Changed()
		rec, err := h.cursor.reader.Next()
		end := errors.Is(err, io.EOF)
		switch {
		case err != nil && !end:
			return nil // the drainer tells of it
		case !end && h.see(rec):
			continue
		case h.candidates != nil:
			if h.choose(); len(h.witnesses) == 0 {
				return nil
			}
			continue
		case end && until.IsZero():
			until = time.Now().Add(min(witnessPauses*h.minStay, h.maxLiveLag))
		case end && time.Until(until) <= 0:
			return nil
		}
		if done, err := h.ask(ctx); done || err != nil {
			return err
		}
		if end && !h.there {
			return nil
		}
		if end {
			wait(ctx, changed, nil, min(time.Until(until), pulse.Next(time.Second)))
		}
	}
}

// choose ends the search for witnesses. They are followed from the mark on.
func (h *hearing) choose() {
	h.witnesses, h.candidates, h.idle = h.candidates.choose(), nil, 0
	h.readFrom(h.account.Mark())
}

// see takes in a record. more: nothing can be asked before the next one.
func (h *hearing) see(rec *backlog.Record) (more bool) {
	s := h.cursor.selection
	if rec.Kind == backlog.Generation {
		s.Forget()
	}
	if rec.Kind != backlog.Data || s.Read(rec) != nil || rec.Context {
		return true
	}
	var oldest int64
	if limit := h.inForce().AgeLimit; limit > 0 {
		oldest = time.Now().Add(-limit).UnixMilli()
	}
	enough := false
	h.idle += len(s.Items)
	for _, it := range s.Items {
		if it.Kind == remotewrite.Exemplar || it.T < oldest { // the latter are dropped; see dropOld
			continue
		}
		hash := labels.StableHash(it.Series.Labels)
		overtaken := h.overtaken.Load().Has(rec.Pos.Generation, it.T)
		if h.candidates != nil {
			enough = h.candidates.see(hash, it, overtaken) || enough
		} else if i := slices.IndexFunc(h.witnesses, func(w *witness) bool { return w.hash == hash }); i >= 0 {
			h.witnesses[i].see(sighting{it, rec.End}, overtaken)
			enough, h.idle = true, 0
		}
	}
	if h.candidates != nil {
		h.candidates.recordEnds()
	}
	return !enough
}

// ask sends what was seen of some witnesses. done: it is known what the endpoint does, or
// none can tell it.
func (h *hearing) ask(ctx context.Context) (done bool, err error) {
	newest := newestOf(h.witnesses)
	asked, following, telling := 0, 0, 0
	for _, w := range h.witnesses {
		for !w.unfit && !w.caught && len(w.seen) > 0 {
			if err := h.follow(ctx, w); err != nil {
				return false, err
			}
		}
		switch {
		case w.unfit:
			continue
		case w.agrees:
		case w.ended(newest):
			w.giveUp()
			continue
		case !w.caught:
			following++
		default:
			telling++
		}
		if asked++; asked == witnessesAsked {
			break
		}
	}
	for _, w := range h.witnesses {
		if w.unfit || w.agrees || !w.caught || len(w.seen) < toTell {
			continue
		}
		if known, err := h.tell(ctx, w); known || err != nil {
			return known, err
		}
		if !w.agrees {
			w.giveUp()
		}
	}
	return following+telling == 0 || h.asked > mostAskedAhead, nil
}

// follow sends the next sample of a witness by itself.
func (h *hearing) follow(ctx context.Context, w *witness) error {
	s := w.seen[0]
	switch r, err := h.sendNext(ctx, w); {
	case err != nil:
		return err
	case r == nil:
		w.caught, w.first, w.upTo = true, s.Item, s.T
	case r.ThereBefore() && s.end.Compare(h.refused) <= 0: // or older than what is there
		h.there, w.from = true, s.T+1 // it is asked about by itself, as every one of its series
	case r.ThereBefore() && s.end.Compare(h.sent) <= 0 && !h.overtaken.Load().Has(s.end.Generation, s.T):
		h.there, w.upTo = true, s.T
	default:
		w.giveUp() // refused for something else, or somebody else is ahead of us
	}
	return nil
}

// tell asks a witness of which three samples are not there, and reports whether it is known
// now what the endpoint does.
func (h *hearing) tell(ctx context.Context, w *witness) (known bool, err error) {
	// The first is taken, unless somebody else writes between our samples.
	control := w.seen[0]
	if r, err := h.sendNext(ctx, w); err != nil || r != nil {
		return false, err
	}
	w.upTo = control.T
	older, newer := w.seen[0], w.seen[1]
	r, err := h.send(ctx, newer.end, w.first, older.Item, newer.Item)
	if err != nil || r == nil || !remotewrite.AlreadyThere(r.Body) {
		return false, err // it refuses nothing any more, or something else
	}
	refusal, err := h.sendNext(ctx, w)
	if err != nil || refusal != nil && !refusal.ThereBefore() {
		return false, err
	}
	// It takes the newer one in either case: it has that, or not.
	if r, err := h.sendNext(ctx, w); err != nil || r != nil {
		return false, err
	}
	if refusal != nil {
		w.agrees, w.both = true, newer.T
		if h.agreed++; h.agreed < 2 {
			return false, nil
		}
		for _, w := range h.witnesses {
			w.upTo = max(w.upTo, w.both)
		}
		h.learnStored()
		return true, nil
	}
	w.upTo = newer.T
	// Had it a window for samples out of order, it would take the older one once more.
	r, err = h.send(ctx, older.end, older.Item)
	if err != nil || r == nil || !r.ThereBefore() {
		return false, err
	}
	h.learnPartial(partialRolledBack)
	return true, nil
}

// sendNext sends the next sample of a witness by itself.
func (h *hearing) sendNext(ctx context.Context, w *witness) (*remotewrite.Refusal, error) {
	next := w.seen[0]
	w.seen = w.seen[1:]
	return h.send(ctx, next.end, next.Item)
}

// send sends items of which the last lies in a record that ends at end.
func (h *hearing) send(ctx context.Context, end backlog.Position, items ...remotewrite.Item) (*remotewrite.Refusal, error) {
	h.asked++
	h.end = end
	if err := h.drain.ask(ctx, items); err != nil {
		return nil, err
	}
	return h.sendUntilAnswered(ctx, items)
}
