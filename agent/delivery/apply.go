package delivery

import (
	"maps"
	"slices"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// Apply makes p the configuration in force. It fails only after Close.
//
// A destination whose entry is unchanged goes on undisturbed, with new secrets
// if there are any. A changed one is stopped and goes on behind, from its mark.
// What belongs to one that is gone is kept for a while, as if its endpoint was
// dead. A destination under a new name with the URL of one that is gone is the
// same one, renamed.
func (d *Delivery) Apply(p *Prepared) error {
	d.applyMtx.Lock()
	defer d.applyMtx.Unlock()
	if err := d.ctx.Err(); err != nil {
		return err
	}
	d.exchange(p)
	d.forgetExpired(time.Now())
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
	now := time.Now()
	wanted := map[string]*remotewrite.Endpoint{}
	for _, e := range p.endpoints {
		e.GiveUp = slices.Contains(d.opts.GiveUpRefused, e.Name)
		wanted[e.Name] = e
	}
	for _, name := range d.opts.GiveUpRefused {
		if wanted[name] == nil {
			level.Warn(d.logger).Log("msg", "No remote_write entry has the name of a destination that is not to be held", "name", name)
		}
	}
	unfinished := map[string]backlog.Position{}
	if !d.marks.known {
		unfinished = d.openSaved(d.inherited(wanted), now)
	}
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
		d.gone.begin(t.name, absence{since: now, noted: now})
	}
	unfinished = d.adopt(wanted, unfinished, now)
	for _, k := range d.Kept() {
		if k.Since.Equal(now) {
			level.Warn(d.logger).Log("msg", "A destination is gone from the configuration; what it has still to get is kept for a while", "destination", k.Name, "samples", k.BacklogSamples, "until", k.Until.UTC().Format(time.RFC3339))
		}
	}
	if !d.marks.known {
		d.marks.known = true
		go d.recoverCount(unfinished)
	}
}

// longestTrust is for how long what is known of an endpoint is good without a run: somebody
// may have put another receiver there. It is as short as a reload or a restart in most cases,
// and much longer goes on the run that has found it out.
const longestTrust = time.Hour

// trusted reports whether what was known of an endpoint when something was written, in
// milliseconds, is good. A clock that was set back tells nothing.
func trusted(written int64, now time.Time) bool {
	ago := now.Sub(time.UnixMilli(written))
	return ago >= 0 && ago <= longestTrust
}

// inherited returns what delivery.json knows.
func (d *Delivery) inherited(wanted map[string]*remotewrite.Endpoint) map[string]ledger.Saved {
	kept := maps.Clone(d.opts.Saved.Destinations)
	if !d.opts.SameProcess && !trusted(d.opts.Saved.Written, time.Now()) {
		for name, s := range kept {
			s.StoresPartial = ""
			kept[name] = s
		}
	}
	switch {
	case d.opts.Saved.Lost && d.store.Oldest().Generation < d.store.Generation():
		level.Warn(d.logger).Log("msg", "There are no marks: everything on disk is sent, some of it again")
		kept = map[string]ledger.Saved{}
		all := backlog.Position{Generation: d.store.Generation()}
		for name, e := range wanted {
			kept[name] = ledger.Saved{URL: e.URL(), Mark: d.store.Oldest(), Sent: all, Unordered: all}
		}
	case d.crashed():
		// After a crash the marks may be older than what was acknowledged: all that
		// the crashed run wrote may have been sent, and in any order if it has said so, or
		// could say nothing.
		mute := d.opts.Saved.Generation < d.store.Generation()-1
		crashed := backlog.Position{Generation: d.store.Generation()}
		for name, s := range kept {
			if s.Sent.Compare(crashed) < 0 {
				s.Sent = crashed
			}
			if mute || !s.Unordered.IsZero() {
				s.Unordered = s.Sent
			}
			if !s.Asked.Before.IsZero() {
				s.Asked.Before = s.Sent
			}
			if !s.Late.Before.IsZero() {
				s.Late.Before = s.Sent
			}
			kept[name] = s
		}
	}
	return kept
}

// openSaved opens the accounts of an earlier run, as those of destinations that
// are gone until they are found to be wanted. It returns the marks of those of which
// that run had not finished counting.
func (d *Delivery) openSaved(kept map[string]ledger.Saved, now time.Time) map[string]backlog.Position {
	unfinished := map[string]backlog.Position{}
	for name, s := range kept {
		if s.Counting {
			unfinished[name] = s.Mark
		}
		a := absence{since: s.GoneSince, before: s.GoneFor, noted: now}
		if a.since.IsZero() {
			a.since = now
		}
		d.book.Open(name, s, s.Counting || d.crashed())
		d.gone.begin(name, a)
	}
	return unfinished
}

// adopt starts every wanted destination from what it left behind when it went, or
// from the WAL's end. It returns unfinished with the names that are in force.
func (d *Delivery) adopt(wanted map[string]*remotewrite.Endpoint, unfinished map[string]backlog.Position, now time.Time) map[string]backlog.Position {
	gone := map[string]relative{}
	for name, account := range d.book.Accounts() {
		if a, is := d.gone.of(name); is {
			gone[name] = relative{account.URL(), a.since}
		}
	}
	// All accounts are closed before one is opened: two may have exchanged their names.
	saved := map[string]ledger.Saved{}
	renamed := maps.Clone(unfinished)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		from := predecessor(name, wanted[name].URL(), func(other string) bool { return wanted[other] != nil }, gone)
		if from == "" {
			continue
		}
		delete(gone, from)
		a, _ := d.gone.end(from)
		back := !a.since.Equal(now)
		if back {
			level.Info(d.logger).Log("msg", "A destination is back in the configuration, and goes on from where it was", "destination", name, "was", from, "gone_since", a.since.UTC().Format(time.RFC3339))
		}
		s := d.book.Remove(from)
		if back {
			s.StoresPartial = "" // there may be another receiver there by now
		}
		saved[name] = s
		if mark, ok := unfinished[from]; ok {
			delete(renamed, from)
			renamed[name] = mark
		}
	}
	for name, e := range wanted {
		var account *ledger.Account
		if s, ok := saved[name]; ok {
			if s.URL != e.URL() {
				// What is there already is at the other one.
				s.Sent, s.Unordered, s.Asked, s.Late = backlog.Position{}, backlog.Position{}, ledger.Asked{}, ledger.Late{}
				s.StoresPartial, s.Refused = "", backlog.Position{}
			}
			s.URL = e.URL()
			account = d.book.Open(name, s, false)
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
	return renamed
}
