package verdict

import (
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// Facts are what an agent knows of itself at one moment.
type Facts struct {
	Now, Started time.Time
	// Ready: it scrapes. Waiting says why not yet; empty: it is starting.
	Ready bool
	// Receives: programs may send samples, whether anything is scraped or not.
	Receives bool
	Waiting  string
	Storage  Storage
	// ClockStep is by how much the clock was set a short time ago; negative: back; 0:
	// it was not.
	ClockStep time.Duration
	Limits    *delivery.LimitsStatus // nil: not known yet
	// Stalled says what makes no progress; empty: all does.
	Stalled string
	// UncleanEnd: the run of the process before did not end in order.
	UncleanEnd   bool
	Destinations []Destination
	Kept         []delivery.Kept
	StoppedJobs  []Job
	MissingLogs  []Job // named by their files
	Targets      Targets
	Reload       Reload
}

// titles of all destinations, those that are gone included.
func (f Facts) titles() map[string]string {
	urls := map[string]string{}
	for _, k := range f.Kept {
		urls[k.Name] = k.URL
	}
	for _, d := range f.Destinations {
		urls[d.Name] = d.URL
	}
	return Titles(urls)
}

// Storage is what is on disk, in bytes.
type Storage struct {
	Bytes, MaxBytes int64
	// Growth in bytes a second, over the last minutes.
	Growth     float64
	Refusing   bool
	Unwritable string // why nothing can be written; empty: something can
	Denied     bool   // because the agent's user may not
}

// Destination is one with what became of its samples lately.
type Destination struct {
	delivery.Status

	Recent Recent

	title string // what it is called in a text
}

// Recent is the change of a ledger's terms in the last Window, or since the process
// began.
type Recent struct {
	Appended, Refused, Uncertain, Evicted, Lost, NotAppended, Rejected uint64
	// Limited of those that were rejected were above a limit.
	Limited uint64
}

// Window is how long something that is over counts as recent.
const Window = 15 * time.Minute

// RecentOf returns the terms of now less those of then.
func RecentOf(then, now ledger.Terms) Recent {
	less := func(now, then uint64) uint64 {
		if now < then { // counted anew, as after a crash
			return 0
		}
		return now - then
	}
	return Recent{
		Appended:    less(now.Appended, then.Appended),
		Refused:     less(ledger.Total(now.Refused), ledger.Total(then.Refused)),
		Uncertain:   less(ledger.Total(now.Uncertain), ledger.Total(then.Uncertain)),
		Evicted:     less(now.Evicted, then.Evicted),
		Lost:        less(now.Lost, then.Lost),
		NotAppended: less(now.NotAppended, then.NotAppended),
		Rejected:    less(ledger.Total(now.Rejected), ledger.Total(then.Rejected)),
		Limited:     less(limited(now), limited(then)),
	}
}

func limited(t ledger.Terms) (n uint64) {
	for reason, samples := range t.Rejected {
		if delivery.OfLimit(reason) {
			n += samples
		}
	}
	return n
}

// Job is a scrape job that is left out, and why.
type Job struct{ Name, Err string }

// Targets counts what is scraped.
type Targets struct {
	Up, Down, Unknown int
	// Failing is one that is down, and FailingErr why.
	Failing, FailingErr string
	// NoJobs: the configuration has no scrape job.
	NoJobs bool
}

// Reload is what is known of the configuration file.
type Reload struct {
	// Err is why the last reload was refused; empty: it was not.
	Err, Hint string
	// Differs: the file is not what is in force, and has been so for a while.
	Differs bool
	// Restart: the collectors of this host are not those of the configuration, and change
	// at a restart only.
	Restart bool
}
