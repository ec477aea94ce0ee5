package verdict

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/number"
)

const (
	// confirmWithin is how long a destination may take to acknowledge anything after
	// there is something to send.
	confirmWithin = 45 * time.Second
	// lateAfter is delivery.UpToDate for one that is live: a batch waits for its deadline, and
	// a busy endpoint takes its time.
	lateAfter = time.Minute
	// startWithin is how long a start may take.
	startWithin = time.Minute
	// muchLost is the part of what was appended from which on a loss is bad.
	muchLost = 0.01
)

func (c *collector) start(f Facts) {
	if f.Ready {
		return
	}
	level := Unconfirmed
	if f.Now.Sub(f.Started) > startWithin {
		level = Warn
	}
	c.add(NotReady, level, "", "", "Not scraping yet: %s", cmp.Or(f.Waiting, "starting"))
}

func (c *collector) disk(s Storage) {
	const byItself = "make room, or mend the file system of --storage.agent.path: the agent takes up by itself"
	const owner = "all of it has to belong to the user that runs the agent: chown -R USER: DIRECTORY, of the service chown -R opstrace-agent: /var/lib/opstrace-agent; the agent takes up by itself"
	switch {
	case s.Unwritable != "" && s.Denied:
		c.add(Unwritable, Bad, "", owner, "The disk cannot be written, new samples are refused: %s", s.Unwritable)
	case s.Unwritable != "":
		c.add(Unwritable, Bad, "", byItself, "The disk cannot be written, new samples are refused: %s", s.Unwritable)
	case s.Refusing:
		c.add(DiskFull, Bad, "", byItself, "The disk is full, new samples are refused")
	}
}

// process is about the agent itself.
func (c *collector) process(f Facts) {
	if f.Stalled != "" {
		c.add(Stalled, Bad, "", "systemd restarts an agent that makes no progress; the log before that tells what it waited for", "No progress: %s", f.Stalled)
	}
	if p := f.Limits.Problem(); p != "" {
		c.add(LimitReached, Warn, "", "mend these targets, or raise the limit", "%s", strings.ToUpper(p[:1])+p[1:])
	} else if pressed(f.Limits) {
		c.add(ShortOfMemory, Warn, "", "give the agent more memory, or scrape less", "The memory is nearly used up: new series are dropped")
	}
	switch {
	case f.ClockStep < 0:
		c.add(ClockStep, Warn, "", "an endpoint may refuse samples until the clock has caught up", "The clock was set back by %s", number.Duration(-f.ClockStep))
	case f.ClockStep > 0:
		c.add(ClockStep, Note, "", "", "The clock was set forward by %s, or the host was suspended", number.Duration(f.ClockStep))
	}
	if f.UncleanEnd && f.Now.Sub(f.Started) < Window {
		c.add(UncleanEnd, Note, "", "", "The run before did not end in order: what it had not noted is delivered again")
	}
}

// pressed reports whether something is given up for want of memory.
func pressed(l *delivery.LimitsStatus) bool {
	return l != nil && l.Memory != "" && l.Memory != delivery.Relaxed.String()
}

func (c *collector) configuration(f Facts, titles map[string]string) {
	if f.Reload.Err != "" {
		c.add(ReloadRefused, Warn, "", cmp.Or(f.Reload.Hint, "opstrace-agent check config tells the same; the old configuration is in force"),
			"The last reload was refused: %s", f.Reload.Err)
	} else if f.Reload.Differs {
		c.add(FileDiffers, Warn, "", "put it in force by 'opstrace-agent reload'", "The configuration file is not the one in force")
	}
	if f.Reload.Restart {
		c.add(RestartNeeded, Warn, "", "restart the agent: sudo systemctl restart opstrace-agent",
			"The collectors of this host are not those of the configuration: they change at a restart only")
	}
	if f.Ready && len(f.Destinations) == 0 {
		c.add(NoDestination, Warn, "", "add an opstrace or remote_write block", "No destination is configured: nothing is sent")
	}
	for _, k := range f.Kept {
		c.add(DestinationGone, Warn, k.Name, "it goes on when the configuration names it again; opstrace-agent forget "+k.Name+" drops it",
			"%s is gone from the configuration: %s samples are kept for it until %s", titles[k.Name], number.Group(k.BacklogSamples), k.Until.UTC().Format("2006-01-02 15:04 MST"))
	}
	for _, j := range f.StoppedJobs {
		c.add(JobStopped, Warn, j.Name, "it is taken up when the files that it needs are there", "The scrape job %s is left out: %s", j.Name, j.Err)
	}
}

func (c *collector) targets(f Facts) {
	for _, l := range f.MissingLogs {
		c.add(LogMissing, Warn, l.Name, "make its directory writable for the agent: it is taken up by itself", "Scrapes that fail are not logged to %s: %s", l.Name, l.Err)
	}
	t := f.Targets
	all := t.Up + t.Down + t.Unknown
	switch {
	case !f.Ready, all == 0 && f.Receives:
	case all == 0 && t.NoJobs:
		c.add(NoTargets, Warn, "", "add a job to scrape_configs and reload, unless this is meant: what is on disk is delivered", "Nothing is scraped: the configuration has no scrape job")
	case all == 0:
		c.add(NoTargets, Warn, "", "see what discovery found on the page, or with opstrace-agent check targets", "Nothing is scraped: there are no targets")
	case t.Down > 0:
		verb := "are"
		if t.Down == 1 {
			verb = "is"
		}
		c.add(TargetsDown, Warn, "", "opstrace-agent check targets tells what each answers", "%d of %d targets %s down, %s: %s", t.Down, all, verb, t.Failing, t.FailingErr)
	}
}

func (c *collector) destination(d Destination, f Facts) {
	c.losses(d, f.Limits) // first: they are worse than what waits
	c.delivering(d, f)
}

// delivering is about what a destination has not got yet.
func (c *collector) delivering(d Destination, f Facts) {
	age := time.Duration(0)
	if d.OldestUnsent != nil {
		age = max(0, f.Now.Sub(*d.OldestUnsent))
	}
	// What an earlier run left is old, and says nothing about this one.
	tried := min(f.Now.Sub(f.Started), f.Now.Sub(d.Since))
	// The first scrape comes as late as its interval is long: nobody can have acknowledged
	// what has not been there for that long.
	unanswered := tried
	if d.OldestUnsent != nil {
		unanswered = min(tried, age)
	}
	failing := d.Failing()
	// What other runs were acknowledged is in the ledger.
	never, yet := "has never acknowledged anything", "has not acknowledged anything yet"
	if d.Ledger.Delivered > 0 {
		never, yet = "has not acknowledged anything in this run", "has not acknowledged anything in this run yet"
	}
	waits := ""
	if age >= delivery.UpToDate {
		waits = fmt.Sprintf(", the oldest sample waits for %s%s", number.Duration(age), untilFull(f.Storage))
	}
	switch {
	case failing && (d.State == delivery.Behind || d.LastSuccess == nil):
		c.add(NotDelivering, Bad, d.Name, hintOf(d), "%s takes nothing%s: %s", d.title, waits, d.LastError)
	case failing && age >= delivery.UpToDate:
		c.add(NotDelivering, Warn, d.Name, hintOf(d), "%s does not take the last batch, it is sent again%s: %s", d.title, waits, d.LastError)
	case d.LastSuccess == nil && d.Ledger.OnDisk == 0 && tried > Window:
		c.add(Unproven, Warn, d.Name, "opstrace-agent check push tells whether it would", "%s %s, and there is nothing to send", d.title, yet)
	case d.LastSuccess == nil && (d.Ledger.OnDisk == 0 || unanswered < confirmWithin):
		c.add(Unproven, Unconfirmed, d.Name, untilProven(f), "%s %s", d.title, yet)
	case d.LastSuccess == nil:
		c.add(NotDelivering, Bad, d.Name, "opstrace-agent check push tells what stands in the way", "%s %s%s", d.title, never, waits)
	case d.State == delivery.Behind && age >= delivery.UpToDate:
		c.add(CatchingUp, Warn, d.Name, "", "%s is behind%s, %s", d.title, waits, done(d))
	case age >= lateAfter:
		c.add(NotDelivering, Warn, d.Name, HintFor("no answer"), "%s does not answer%s", d.title, waits)
	}
}

// untilProven is what to do about a destination that has not acknowledged anything yet.
func untilProven(f Facts) string {
	t := f.Targets
	if f.Storage.Refusing || f.Storage.Unwritable != "" || f.Ready && t.Up+t.Down+t.Unknown == 0 {
		return "there is nothing to send as long as nothing is scraped and written"
	}
	return "wait: after a start or a reload this lasts until the first answer, which follows the first scrape"
}

func done(d Destination) string {
	switch {
	case d.ETASeconds > 0:
		return "done in " + number.Duration(time.Duration(d.ETASeconds*float64(time.Second)))
	case d.ETASeconds < 0:
		return "and its backlog does not get smaller"
	}
	return "nearly done"
}

// untilFull says how long the budget lasts at the present growth; empty where it does
// not get fuller, or for a very long time.
func untilFull(s Storage) string {
	const never = 30 * 24 * time.Hour
	if s.Growth <= 0 || s.MaxBytes <= 0 {
		return ""
	}
	left := time.Duration(float64(s.MaxBytes-s.Bytes) / s.Growth * float64(time.Second))
	switch {
	case left <= 0:
		return " and the budget is used up"
	case left > never:
		return ""
	}
	return " and the budget lasts for " + number.Duration(left)
}

// losses is about what a destination will never get.
func (c *collector) losses(d Destination, limits *delivery.LimitsStatus) {
	lately := number.Duration(Window)
	level := func(n uint64) Level {
		if float64(n) >= muchLost*float64(max(1, d.Recent.Appended)) {
			return Bad
		}
		return Warn
	}
	r := d.Recent
	if d.LeftOut > 0 {
		c.add(SeriesRefused, Warn, d.Name, "mend or drop them by write_relabel_configs, or raise the tenant's limits", "%s: %s", d.title, d.Why)
	} else if n := r.Refused; n > 0 {
		c.add(Refused, level(n), d.Name, HintFor(d.LastError), "%s refused %s for good in the last %s%s", d.title, samples(n, r.Appended), lately, because(d))
	}
	if n := r.Uncertain; n > 0 {
		c.add(Uncertain, level(n), d.Name, HintFor(d.LastError), "%s refused a part of %s in the last %s, nobody knows which%s", d.title, samples(n, r.Appended), lately, because(d))
	}
	if n := r.Evicted; n > 0 {
		c.add(Evicting, Bad, d.Name, "raise --storage.backlog.max-bytes, or mend what keeps them from being delivered",
			"The disk budget is used up: %s for %s given up in the last %s", samples(n, r.Appended), d.title, lately)
	}
	if n := r.Lost; n > 0 {
		c.add(LostSamples, Bad, d.Name, "a power cut, a disk that filled up at that moment, or a broken one: see the log", "Lost from disk: %s for %s in the last %s", samples(n, r.Appended), d.title, lately)
	}
	if n := r.NotAppended; n > 0 {
		c.add(NotAppended, Bad, d.Name, "", "Not written, because the disk was full or could not be written: %s for %s in the last %s", samples(n, r.Appended), d.title, lately)
	}
	rejected := r.Rejected
	if limits.Problem() != "" || pressed(limits) {
		rejected -= min(rejected, r.Limited) // told with the limit
	}
	if n := rejected; n > 0 && level(n) == Bad {
		c.add(Rejected, Warn, d.Name, "a target stamps samples itself, two targets write the same series, or a limit is reached",
			"The agent's own storage did not take %s in the last %s", samples(n, r.Appended), lately)
	}
}

// because is what the endpoint said last, if it was a refusal.
func because(d Destination) string {
	if d.LastError == "" {
		return ""
	}
	return ": " + d.LastError
}

// samples is a number of them, and which part of all.
func samples(n, of uint64) string {
	text := number.Group(n) + " samples"
	if n == 1 {
		text = "1 sample"
	}
	if of > n {
		text += fmt.Sprintf(" of %s", number.Group(of))
	}
	return text
}
