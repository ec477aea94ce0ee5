package delivery

import (
	"context"
	"math"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// Apply makes p the configuration in force. It fails only after Close.
//
// A destination whose entry is unchanged goes on undisturbed, with new secrets
// if there are any. A changed one is stopped and goes on behind, from its mark.
// A destination under a new name with the URL of one that is gone is the same
// one, renamed. What was kept for a destination that is gone is dropped.
func (d *Delivery) Apply(p *Prepared) error {
	d.applyMtx.Lock()
	defer d.applyMtx.Unlock()
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if err := d.exchange(p); err != nil {
		return err
	}
	// The configuration is in force, whether or not the disk is full.
	if err := d.saveAndRelease(false); err != nil {
		level.Error(d.logger).Log("msg", "cannot save the marks", "err", err)
	}
	return nil
}

// exchange stops the destinations that are changed or gone, all at once, and
// starts those that are new in what they leave behind.
func (d *Delivery) exchange(p *Prepared) error {
	d.saveMtx.Lock()
	defer d.saveMtx.Unlock()
	wanted := map[string]*endpoint{}
	for _, e := range p.endpoints {
		wanted[e.name] = e
	}
	kept := d.inherited(wanted)
	var stopping []*destination
	for _, t := range d.all() {
		old := t.endpoint()
		if e, ok := wanted[old.name]; ok && e.hash == old.hash {
			if err := d.queues.refresh(t.renew(e)); err != nil {
				return err
			}
			delete(wanted, old.name)
			continue
		}
		t.cancel()
		stopping = append(stopping, t)
	}
	for _, t := range stopping {
		<-t.done
		kept[t.e.name] = t.saved()
	}
	d.mtx.Lock()
	for _, t := range stopping {
		delete(d.destinations, t.e.name)
	}
	d.mtx.Unlock()
	d.adopt(wanted, kept)
	for name, s := range kept {
		level.Warn(d.logger).Log("msg", "a destination is gone from the configuration; what was kept for it is dropped", "destination", name, "samples", d.pending(s))
	}
	d.mtx.Lock()
	d.applied = true
	d.mtx.Unlock()
	return nil
}

// inherited returns what delivery.json knows, at the first Apply.
func (d *Delivery) inherited(wanted map[string]*endpoint) map[string]SavedDestination {
	kept := map[string]SavedDestination{}
	if d.applied {
		return kept
	}
	for name, s := range d.opts.Saved.Destinations {
		kept[name] = s
	}
	if d.opts.Saved.Lost && d.store.Oldest().Generation < d.store.Generation() {
		level.Warn(d.logger).Log("msg", "there are no marks: everything on disk is sent, some of it again")
		for name, e := range wanted {
			kept[name] = SavedDestination{
				URL: redactURL(e.cfg.URL), Mark: d.store.Oldest(),
				Sent: backlog.Position{Generation: d.store.Generation()},
			}
		}
	}
	return kept
}

// adopt starts every wanted destination from what was kept of it, which it
// takes out of kept, or from the WAL's end.
func (d *Delivery) adopt(wanted map[string]*endpoint, kept map[string]SavedDestination) {
	for name, e := range wanted {
		from := name
		if _, ok := kept[name]; !ok {
			from = renamed(e, wanted, kept)
		}
		s, ok := kept[from]
		delete(kept, from)
		if !ok {
			appended, notAppended, tail := d.intake.atRest(d.store.End)
			s = SavedDestination{Mark: tail, Born: appended, BornNotAppended: notAppended}
		}
		d.startDestination(e, s)
	}
}

// renamed returns the name that e's destination had before: one that is gone
// and has the same URL, if there is exactly one.
func renamed(e *endpoint, wanted map[string]*endpoint, kept map[string]SavedDestination) string {
	found := ""
	for name, s := range kept {
		if _, still := wanted[name]; still || s.URL != redactURL(e.cfg.URL) {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

func (d *Delivery) startDestination(e *endpoint, s SavedDestination) {
	ctx, cancel := context.WithCancel(d.ctx)
	t := &destination{
		d: d, e: e,
		logger: log.With(d.logger, "destination", e.name),
		cancel: cancel, done: make(chan struct{}),
		mark: s.Mark, read: s.Mark, sent: s.Sent,
		ledger: s.Ledger, born: s.Born, bornNot: s.BornNotAppended,
		state: Behind, since: time.Now(), beat: time.Now(),
	}
	if !d.applied && !d.opts.Saved.Clean && !d.opts.Saved.Lost {
		// After a crash the marks may be older than what was acknowledged, by
		// as much as lies between two saves.
		crashed := backlog.Position{Generation: d.opts.Saved.Generation, Segment: math.MaxInt}
		if t.sent.Compare(crashed) < 0 {
			t.sent = crashed
			if d.opts.SaveInterval > 0 {
				t.sentUntil = d.opts.Saved.Written + (d.opts.SaveInterval + time.Minute).Milliseconds()
			}
		}
	}
	d.mtx.Lock()
	d.destinations[e.name] = t
	d.mtx.Unlock()
	go t.run(ctx)
}

func (d *Delivery) pending(s SavedDestination) uint64 {
	n, _, _, _ := d.store.Pending(s.Mark)
	return n.Samples()
}
