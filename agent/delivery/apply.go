package delivery

import (
	"maps"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
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
	d.exchange(p)
	// The configuration is in force, whether or not the disk is full.
	if err := d.marks.saveAndRelease(false); err != nil {
		level.Error(d.logger).Log("msg", "Cannot save the marks", "err", err)
	}
	return nil
}

// exchange stops the destinations that are changed or gone, all at once, and
// starts those that are new in what they leave behind.
func (d *Delivery) exchange(p *Prepared) {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	wanted := map[string]*remotewrite.Endpoint{}
	for _, e := range p.endpoints {
		wanted[e.Name] = e
	}
	kept := d.inherited(wanted)
	var leaving []*destination
	for _, t := range d.all() {
		if e, ok := wanted[t.name]; ok && e.SameAs(t.inForce()) {
			t.renew(e)
			delete(wanted, t.name)
			continue
		}
		t.leave(reconfigured)
		leaving = append(leaving, t)
	}
	for _, t := range leaving {
		<-t.done
		d.mtx.Lock()
		delete(d.destinations, t.name)
		d.mtx.Unlock()
		kept[t.name] = d.book.Remove(t.name)
	}
	unfinished := d.adopt(wanted, kept)
	for name, s := range kept {
		level.Warn(d.logger).Log("msg", "A destination is gone from the configuration, what was kept for it is dropped", "destination", name, "samples", s.Terms.OnDisk)
	}
	if !d.marks.known {
		d.marks.known = true
		go d.recoverCount(unfinished)
	}
}

// inherited returns what delivery.json knows, at the first Apply.
func (d *Delivery) inherited(wanted map[string]*remotewrite.Endpoint) map[string]ledger.Saved {
	kept := map[string]ledger.Saved{}
	if d.marks.known {
		return kept
	}
	maps.Copy(kept, d.opts.Saved.Destinations)
	switch {
	case d.opts.Saved.Lost && d.store.Oldest().Generation < d.store.Generation():
		level.Warn(d.logger).Log("msg", "There are no marks: everything on disk is sent, some of it again")
		for name, e := range wanted {
			kept[name] = ledger.Saved{URL: e.URL(), Mark: d.store.Oldest(), Sent: backlog.Position{Generation: d.store.Generation()}}
		}
	case d.crashed():
		// After a crash the marks may be older than what was acknowledged: all that
		// the crashed run wrote may have been sent.
		crashed := backlog.Position{Generation: d.store.Generation()}
		for name, s := range kept {
			if s.Sent.Compare(crashed) < 0 {
				s.Sent = crashed
			}
			kept[name] = s
		}
	}
	return kept
}

// adopt starts every wanted destination from what was kept of it, which it
// takes out of kept, or from the WAL's end. It returns the marks of those of which
// an earlier run had not finished counting.
func (d *Delivery) adopt(wanted map[string]*remotewrite.Endpoint, kept map[string]ledger.Saved) map[string]backlog.Position {
	unfinished := map[string]backlog.Position{}
	for name, e := range wanted {
		from := name
		if _, ok := kept[name]; !ok {
			from = renamed(e, wanted, kept)
		}
		s, ok := kept[from]
		delete(kept, from)
		var account *ledger.Account
		if ok {
			if s.URL != e.URL() {
				s.Sent = backlog.Position{} // what is there already is at the other one
			}
			s.URL = e.URL()
			if s.Counting && !d.marks.known {
				unfinished[name] = s.Mark
			}
			account = d.book.Open(name, s, !d.marks.known && (s.Counting || d.crashed()))
		} else {
			d.intake.atRest(d.store.End, func(end backlog.Position) {
				account = d.book.Open(name, ledger.Saved{URL: e.URL(), Mark: end}, false)
			})
		}
		t := newDestination(d.shared, e, account)
		d.mtx.Lock()
		d.destinations[name] = t
		d.mtx.Unlock()
		t.start(d.ctx)
	}
	return unfinished
}

// renamed returns the name that e's destination had before: one that is gone
// and has the same URL, if there is exactly one.
func renamed(e *remotewrite.Endpoint, wanted map[string]*remotewrite.Endpoint, kept map[string]ledger.Saved) string {
	found := ""
	for name, s := range kept {
		if _, still := wanted[name]; still || s.URL != e.URL() {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}
