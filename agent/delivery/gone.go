package delivery

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// absences are the destinations that the configuration in force does not name,
// and whose accounts stay open all the same: a configuration that was wrong for a
// moment, or one start with it, must cost nothing.
type absences struct {
	mtx    sync.Mutex
	byName map[string]absence
}

// absence of one destination. How long it lasts is counted while the agent runs,
// not by the wall clock: that of a host without a battery jumps by years.
type absence struct {
	since  time.Time     // for people
	before time.Duration // that it lasted in earlier runs
	noted  time.Time     // in this run
}

func (a absence) lasted(now time.Time) time.Duration { return a.before + now.Sub(a.noted) }

// begin notes that a destination has gone; one that is gone already has not come
// back meanwhile.
func (g *absences) begin(name string, a absence) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	if g.byName == nil {
		g.byName = map[string]absence{}
	}
	if _, ok := g.byName[name]; !ok {
		g.byName[name] = a
	}
}

// end reports whether the destination was gone.
func (g *absences) end(name string) (a absence, was bool) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	a, was = g.byName[name]
	delete(g.byName, name)
	return a, was
}

// of returns a destination's absence, if it is gone.
func (g *absences) of(name string) (a absence, is bool) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	a, is = g.byName[name]
	return a, is
}

// names of all that are gone, in order.
func (g *absences) names() []string {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	var out []string
	for name := range g.byName {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// save notes the absences in what delivery.json is to hold.
func (g *absences) save(destinations map[string]ledger.Saved, now time.Time) {
	g.mtx.Lock()
	defer g.mtx.Unlock()
	for name, a := range g.byName {
		if s, ok := destinations[name]; ok {
			s.GoneSince, s.GoneFor = a.since, a.lasted(now)
			destinations[name] = s
		}
	}
}

// relative is a destination that is gone, as one that may be its successor sees it.
type relative struct {
	url   string
	since time.Time
}

// predecessor returns the name under which a destination was known before, ""
// if it is new: its own, or the one that had its URL and has gone last. Of two
// that went together nobody knows which of them it was.
func predecessor(name, url string, isWanted func(string) bool, gone map[string]relative) string {
	if _, ok := gone[name]; ok {
		return name
	}
	found, last := "", time.Time{}
	for other, r := range gone {
		switch {
		case r.url != url || isWanted(other) || r.since.Before(last):
		case found != "" && r.since.Equal(last):
			found = ""
		default:
			found, last = other, r.since
		}
	}
	return found
}

// Kept is what belongs to a destination that is gone from the configuration.
type Kept struct {
	Name string `json:"name"`
	// URL without user, password and query values.
	URL string `json:"url"`
	// Since when it is gone, and until when it is kept if it does not come back
	// and the agent runs on.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// BacklogSamples and BacklogBytes are on disk for it.
	BacklogSamples uint64 `json:"backlogSamples"`
	BacklogBytes   int64  `json:"backlogBytes"`
	// Ledger adds up to the sample: its terms are of one moment.
	Ledger ledger.Terms `json:"ledger"`
}

// Kept returns what is kept for destinations that are gone, by name.
func (d *Delivery) Kept() []Kept {
	var out []Kept
	now := time.Now()
	terms := d.book.Terms()
	for name, account := range d.book.Accounts() {
		a, is := d.gone.of(name)
		l, ok := terms[name]
		if !is || !ok {
			continue
		}
		out = append(out, Kept{
			Name: name, URL: account.URL(), Since: a.since, Until: now.Add(d.opts.ForgetAfter - a.lasted(now)),
			BacklogSamples: l.OnDisk, BacklogBytes: d.store.Pending(account.Mark()), Ledger: l,
		})
	}
	slices.SortFunc(out, func(a, b Kept) int { return strings.Compare(a.Name, b.Name) })
	return out
}
