package verdict

import (
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) *time.Time {
	at := noon.Add(-d)
	return &at
}

// well is an agent with one destination that nobody needs to look at.
func wellFacts() Facts {
	return Facts{
		Now: noon, Started: *before(time.Hour), Ready: true, Targets: Targets{Up: 3},
		Storage: Storage{Bytes: 10 << 20, MaxBytes: 100 << 20},
		Destinations: []Destination{{Status: delivery.Status{
			Name: "a", State: delivery.Live, Since: *before(time.Hour), LastSuccess: before(time.Second),
			Ledger: ledger.Terms{Appended: 1000, Delivered: 1000},
		}}},
	}
}

// judgement is what is to be said of an agent that is well but for one change.
type judgement struct {
	change   func(f *Facts, d *Destination)
	level    Level
	headline string
	hint     string // a part of it
}

func judgements() map[string]judgement {
	fails := func(d *Destination, words string) { d.LastError, d.LastErrorAt = words, before(0) }
	behind := func(d *Destination) {
		d.State, d.OldestUnsent, d.ETASeconds, d.Ledger.OnDisk = delivery.Behind, before(5*time.Minute), 40, 100
	}
	never := func(f *Facts, d *Destination, started time.Duration) {
		f.Started, d.Since, d.LastSuccess, d.Ledger.OnDisk = *before(started), *before(started), nil, 10
		d.Ledger.Delivered = 0
	}
	return map[string]judgement{
		"well":      {func(*Facts, *Destination) {}, Good, "All is well", ""},
		"recovered": {func(_ *Facts, d *Destination) { d.LastError, d.LastErrorAt = "502", before(time.Minute) }, Good, "All is well", ""},
		"caught up": {func(_ *Facts, d *Destination) { behind(d); d.OldestUnsent = before(time.Second) }, Good, "All is well", ""},
		"starting":  {func(f *Facts, _ *Destination) { f.Ready, f.Started, f.Destinations = false, *before(time.Second), nil }, Unconfirmed, "Not scraping yet: starting", ""},
		"waiting": {func(f *Facts, _ *Destination) { f.Ready, f.Waiting, f.Destinations = false, "for the clock", nil }, Warn,
			"Not scraping yet: for the clock", ""},
		"unconfirmed": {func(f *Facts, d *Destination) { never(f, d, 20*time.Second) }, Unconfirmed, "a has not acknowledged anything yet", "wait: after a start or a reload"},
		"unconfirmed, after an upgrade": {func(f *Facts, d *Destination) {
			never(f, d, 20*time.Second)
			d.Ledger.Delivered = 13434
		}, Unconfirmed, "a has not acknowledged anything in this run yet", "wait: after a start or a reload"},
		"unconfirmed, an old backlog": {func(f *Facts, d *Destination) { never(f, d, 20*time.Second); d.OldestUnsent = before(time.Hour) }, Unconfirmed,
			"a has not acknowledged anything yet", "wait: after a start or a reload"},
		"unconfirmed, first scraped after 50 s": {func(f *Facts, d *Destination) { never(f, d, 55*time.Second); d.OldestUnsent = before(5 * time.Second) }, Unconfirmed,
			"a has not acknowledged anything yet", "follows the first scrape"},
		"never confirmed": {func(f *Facts, d *Destination) { never(f, d, time.Minute); d.OldestUnsent = before(time.Minute) }, Bad,
			"a has never acknowledged anything, the oldest sample waits for 60 s", "check push"},
		"nothing to confirm": {func(f *Facts, d *Destination) { never(f, d, time.Hour); d.Ledger.OnDisk = 0 }, Warn,
			"a has not acknowledged anything yet, and there is nothing to send", "check push"},
		"never confirmed, after an upgrade": {func(f *Facts, d *Destination) {
			never(f, d, time.Minute)
			d.OldestUnsent, d.Ledger.Delivered = before(time.Minute), 13434
		}, Bad, "a has not acknowledged anything in this run, the oldest sample waits for 60 s", "check push"},
		"not the agent's to write": {func(f *Facts, _ *Destination) {
			f.Storage.Unwritable, f.Storage.Denied = "link: operation not permitted", true
		}, Bad, "The disk cannot be written, new samples are refused: link: operation not permitted", "chown -R opstrace-agent: /var/lib/opstrace-agent"},
		"without a name of its own": {func(f *Facts, d *Destination) {
			d.Name, d.URL = "cortex.default.c.opstrace.io-57eff18d", "https://cortex.default.c.opstrace.io/api/v1/push"
			never(f, d, 20*time.Second)
		}, Unconfirmed, "cortex.default.c.opstrace.io has not acknowledged anything yet", "wait: after a start or a reload"},
		"wrong token from the start": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			fails(d, "server returned HTTP status 401 Unauthorized: bad authentication token")
		}, Bad, "a takes nothing: server returned HTTP status 401 Unauthorized: bad authentication token", "of this tenant and cluster"},
		"no token file": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			fails(d, `Post "https://x/": unable to read authorization credentials file /t: open /t: no such file or directory`)
		}, Bad, `a takes nothing: Post "https://x/": unable to read authorization credentials file /t: open /t: no such file or directory`, "a file of this host"},
		"failing": {func(_ *Facts, d *Destination) { behind(d); fails(d, "dial tcp: connect: connection refused") }, Bad,
			"a takes nothing, the oldest sample waits for 5 m: dial tcp: connect: connection refused", "is down, or has moved"},
		"nothing listens": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			fails(d, "dial tcp: connect: connection refused")
		}, Bad,
			"a takes nothing: dial tcp: connect: connection refused", "nothing listens there"},
		"unknown host": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			fails(d, "dial tcp: lookup x: no such host")
		}, Bad,
			"a takes nothing: dial tcp: lookup x: no such host", "spelling"},
		"the name server is gone": {func(_ *Facts, d *Destination) {
			behind(d)
			fails(d, "dial tcp: lookup x on 127.0.0.53:53: read: connection refused")
		}, Bad,
			"a takes nothing, the oldest sample waits for 5 m: dial tcp: lookup x on 127.0.0.53:53: read: connection refused", "name server of this host"},
		"http to TLS": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			fails(d, "something in front of the receiver answers in its place: HTTP status 400 Bad Request: Client sent an HTTP request to an HTTPS server")
		}, Bad,
			"", "write https://"},
		"2.0 not taken": {func(_ *Facts, d *Destination) {
			behind(d)
			fails(d, "this endpoint does not take remote write 2.0: server returned HTTP status 415 Unsupported Media Type")
		}, Bad, "", "1.0 only: remove protobuf_message"},
		"1.0 not taken": {func(_ *Facts, d *Destination) {
			behind(d)
			fails(d, "server returned HTTP status 415 Unsupported Media Type")
		}, Bad, "", "where it is set"},
		"failing, the budget fills": {func(f *Facts, d *Destination) { behind(d); fails(d, "no such host"); f.Storage.Growth = 1 << 20 }, Bad,
			"a takes nothing, the oldest sample waits for 5 m and the budget lasts for 90 s: no such host", "its name is gone"},
		"retrying": {func(_ *Facts, d *Destination) { fails(d, "server returned HTTP status 503 Service Unavailable") }, Good, "All is well", ""},
		"retrying in vain": {func(_ *Facts, d *Destination) {
			d.OldestUnsent = before(15 * time.Second)
			fails(d, "server returned HTTP status 503 Service Unavailable")
		}, Warn, "a does not take the last batch, it is sent again, the oldest sample waits for 15 s: server returned HTTP status 503 Service Unavailable", "sent again"},
		"catching up": {func(_ *Facts, d *Destination) { behind(d) }, Warn, "a is behind, the oldest sample waits for 5 m, done in 40 s", ""},
		"never done": {func(_ *Facts, d *Destination) { behind(d); d.ETASeconds = -1 }, Warn,
			"a is behind, the oldest sample waits for 5 m, and its backlog does not get smaller", ""},
		"hanging": {func(_ *Facts, d *Destination) { d.OldestUnsent = before(90 * time.Second) }, Warn, "a does not answer, the oldest sample waits for 90 s", "hangs"},
		"refused": {func(_ *Facts, d *Destination) {
			d.Recent = Recent{Appended: 100000, Refused: 3}
			d.LastError = "server returned HTTP status 400 Bad Request: label value too long"
		}, Warn, "a refused 3 samples of 100,000 for good in the last 15 m: server returned HTTP status 400 Bad Request: label value too long", "write_relabel_configs"},
		"refused as out of order": {func(_ *Facts, d *Destination) {
			d.Recent = Recent{Appended: 100000, Uncertain: 3}
			d.LastError = "server returned HTTP status 400 Bad Request: user=default: err: out of order sample. timestamp=x, series={a}"
		}, Warn, "a refused a part of 3 samples of 100,000 in the last 15 m, nobody knows which: server returned HTTP status 400 Bad Request: user=default: err: out of order sample. timestamp=x, series={a}", "external_labels"},
		"refused as too old": {func(_ *Facts, d *Destination) {
			d.Recent = Recent{Appended: 100000, Refused: 3}
			d.LastError = "server returned HTTP status 400 Bad Request: user=default: err: out of bounds"
		}, Warn, "a refused 3 samples of 100,000 for good in the last 15 m: server returned HTTP status 400 Bad Request: user=default: err: out of bounds", "out-of-order window"},
		"refused as ahead": {func(_ *Facts, d *Destination) {
			d.Recent = Recent{Appended: 100000, Uncertain: 3}
			d.LastError = "server returned HTTP status 400 Bad Request: timestamp too new: 1 metric"
		}, Warn, "a refused a part of 3 samples of 100,000 in the last 15 m, nobody knows which: server returned HTTP status 400 Bad Request: timestamp too new: 1 metric", "clock"},
		"series refused": {func(_ *Facts, d *Destination) {
			d.State, d.LeftOut, d.Why, d.Recent = delivery.Behind, 2, "the endpoint refuses 2 series for what they are", Recent{Appended: 100, Refused: 50}
		}, Warn, "a: the endpoint refuses 2 series for what they are", "write_relabel_configs"},
		"much refused": {func(_ *Facts, d *Destination) { d.Recent = Recent{Appended: 100, Refused: 3} }, Bad, "a refused 3 samples of 100 for good in the last 15 m", ""},
		"uncertain": {func(_ *Facts, d *Destination) { d.Recent = Recent{Appended: 1000, Uncertain: 1} }, Warn,
			"a refused a part of 1 sample of 1,000 in the last 15 m, nobody knows which", ""},
		"evicted": {func(_ *Facts, d *Destination) { d.Recent.Evicted = 500 }, Bad, "The disk budget is used up: 500 samples for a given up in the last 15 m", "backlog.max-bytes"},
		"lost":    {func(_ *Facts, d *Destination) { d.Recent.Lost = 1 }, Bad, "Lost from disk: 1 sample for a in the last 15 m", "power cut"},
		"not appended": {func(_ *Facts, d *Destination) { d.Recent.NotAppended = 7 }, Bad,
			"Not written, because the disk was full or could not be written: 7 samples for a in the last 15 m", ""},
		"some rejected": {func(_ *Facts, d *Destination) { d.Recent = Recent{Appended: 1000, Rejected: 5} }, Good, "All is well", ""},
		"rejected":      {func(_ *Facts, d *Destination) { d.Recent = Recent{Appended: 1000, Rejected: 10} }, Warn, "The agent's own storage did not take 10 samples of 1,000 in the last 15 m", "stamps"},
		"disk full":     {func(f *Facts, _ *Destination) { f.Storage.Refusing = true }, Bad, "The disk is full, new samples are refused", "make room"},
		"unwritable": {func(f *Facts, _ *Destination) {
			f.Storage.Unwritable, f.Storage.Refusing = "read-only file system", true
		}, Bad,
			"The disk cannot be written, new samples are refused: read-only file system", "by itself"},
		"limits": {func(f *Facts, _ *Destination) {
			f.Limits = &delivery.LimitsStatus{MaxSeries: 10, Worst: map[string][]delivery.Offender{"max_series": {{Job: "j", Instance: "a", Dropped: 5}}}}
		}, Warn, "Series are dropped, most of these targets (samples): new ones above --limits.max-series=10: j/a (5)", "raise the limit"},
		"rejected beside limits": {func(f *Facts, d *Destination) {
			f.Limits = &delivery.LimitsStatus{MaxSeries: 10, Worst: map[string][]delivery.Offender{"max_series": {{Job: "j", Instance: "a", Dropped: 50}}}}
			d.Recent = Recent{Appended: 100, Rejected: 50, Limited: 50}
		}, Warn, "Series are dropped, most of these targets (samples): new ones above --limits.max-series=10: j/a (50)", "raise the limit"},
		"rejected and limits": {func(f *Facts, d *Destination) {
			f.Limits = &delivery.LimitsStatus{MaxSeries: 10, Worst: map[string][]delivery.Offender{"max_series": {{Job: "j", Instance: "a", Dropped: 50}}}}
			d.Recent = Recent{Appended: 100, Rejected: 57, Limited: 50}
		}, Warn, "Series are dropped, most of these targets (samples): new ones above --limits.max-series=10: j/a (50) (and 1 more)", "raise the limit"},
		"limited before": {func(_ *Facts, d *Destination) { d.Recent = Recent{Appended: 100, Rejected: 50, Limited: 50} }, Warn,
			"The agent's own storage did not take 50 samples of 100 in the last 15 m", "a limit is reached"},
		"disk full from the start": {func(f *Facts, d *Destination) {
			never(f, d, 3*time.Second)
			d.Ledger.OnDisk, f.Storage.Refusing = 0, true
		}, Bad, "The disk is full, new samples are refused (and 1 more)", ""},
		"memory":        {func(f *Facts, _ *Destination) { f.Limits = &delivery.LimitsStatus{Memory: "shed_series"} }, Warn, "The memory is nearly used up: new series are dropped", "more memory"},
		"clock forward": {func(f *Facts, _ *Destination) { f.ClockStep = 2 * time.Hour }, Good, "All is well", ""},
		"no log":        {func(f *Facts, _ *Destination) { f.MissingLogs = []Job{{"/f", "no /f"}} }, Warn, "Scrapes that fail are not logged to /f: no /f", "writable"},
		"clock back":    {func(f *Facts, _ *Destination) { f.ClockStep = -2 * time.Hour }, Warn, "The clock was set back by 2 h", "caught up"},
		"stalled":       {func(f *Facts, _ *Destination) { f.Stalled = "no scrape has been committed for 1m0s" }, Bad, "No progress: no scrape has been committed for 1m0s", "systemd"},
		"unclean":       {func(f *Facts, _ *Destination) { f.UncleanEnd, f.Started = true, *before(time.Minute) }, Good, "All is well", ""},
		"nowhere":       {func(f *Facts, _ *Destination) { f.Destinations = nil }, Warn, "No destination is configured: nothing is sent", "remote_write"},
		"gone": {func(f *Facts, _ *Destination) {
			f.Kept = []delivery.Kept{{Name: "b", BacklogSamples: 1234, Until: noon}}
		}, Warn,
			"b is gone from the configuration: 1,234 samples are kept for it until 2026-03-01 12:00 UTC", "forget"},
		"stopped job": {func(f *Facts, _ *Destination) { f.StoppedJobs = []Job{{"j", "no ca.pem"}} }, Warn, "The scrape job j is left out: no ca.pem", "files"},
		"reload refused": {func(f *Facts, _ *Destination) {
			f.Reload = Reload{Err: "f.yml:3: unknown key", Hint: "mend it", Differs: true}
		}, Warn,
			"The last reload was refused: f.yml:3: unknown key", "mend it"},
		"file differs": {func(f *Facts, _ *Destination) { f.Reload.Differs = true }, Warn, "The configuration file is not the one in force", "put it in force"},
		"restart needed": {func(f *Facts, _ *Destination) { f.Reload.Restart = true }, Warn,
			"The collectors of this host are not those of the configuration: they change at a restart only", "systemctl restart"},
		"restart needed, and the next file refused": {func(f *Facts, _ *Destination) {
			f.Reload = Reload{Err: "f.yml:3: unknown key", Restart: true}
		}, Warn, "The last reload was refused: f.yml:3: unknown key (and 1 more)", "check config"},
		"target down": {func(f *Facts, _ *Destination) {
			f.Targets = Targets{Up: 2, Down: 1, Failing: "http://t/metrics", FailingErr: "refused"}
		}, Warn,
			"1 of 3 targets is down, http://t/metrics: refused", "check targets"},
		"no jobs":    {func(f *Facts, _ *Destination) { f.Targets = Targets{NoJobs: true} }, Warn, "Nothing is scraped: the configuration has no scrape job", "scrape_configs"},
		"no targets": {func(f *Facts, _ *Destination) { f.Targets = Targets{} }, Warn, "Nothing is scraped: there are no targets", "discovery"},
		"two problems": {func(f *Facts, d *Destination) { f.Reload.Differs = true; d.Recent.Evicted = 1 }, Bad,
			"The disk budget is used up: 1 sample for a given up in the last 15 m (and 1 more)", ""},
		"hostile words": {func(_ *Facts, d *Destination) { behind(d); fails(d, "a\x1b[2J\nb"+strings.Repeat("x", 9999)) }, Bad,
			firstRunes("a takes nothing, the oldest sample waits for 5 m: a\uFFFD[2J b"+strings.Repeat("x", 9999), maxText-1) + "…", ""},
		"a secret": {func(_ *Facts, d *Destination) {
			behind(d)
			fails(d, `Post "https://u:s3cret@h/p?token=s3cret": EOF`)
		}, Bad, "", "cut"},
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	for name, c := range judgements() {
		f := wellFacts()
		c.change(&f, &f.Destinations[0])
		v := Judge(f)
		if v.Level != c.level || c.headline != "" && v.Headline != c.headline {
			t.Errorf("%s: %s, %q", name, v.Level, v.Headline)
		}
		if c.hint != "" && !strings.Contains(v.Problems[0].Hint, c.hint) {
			t.Errorf("%s: hint %q", name, v.Problems[0].Hint)
		}
		if strings.Contains(v.Headline, "s3cret") {
			t.Errorf("%s: %s", name, v.Headline)
		}
		if v.Problems == nil {
			t.Errorf("%s: null instead of no problems", name)
		}
	}
}

// TestUntilProven: nobody is told to wait for what cannot come.
func TestUntilProven(t *testing.T) {
	t.Parallel()
	const cannot = "nothing is scraped and written"
	for name, c := range map[string]struct {
		change func(f *Facts)
		hint   string
	}{
		"as it is":      {func(*Facts) {}, "wait: "},
		"disk full":     {func(f *Facts) { f.Storage.Refusing = true }, cannot},
		"unwritable":    {func(f *Facts) { f.Storage.Unwritable = "read-only file system" }, cannot},
		"no targets":    {func(f *Facts) { f.Targets = Targets{} }, cannot},
		"not ready yet": {func(f *Facts) { f.Ready, f.Targets = false, Targets{} }, "wait: "},
	} {
		f := wellFacts()
		d := &f.Destinations[0]
		f.Started, d.Since, d.LastSuccess = *before(3 * time.Second), *before(3 * time.Second), nil
		c.change(&f)
		hint := ""
		for _, p := range Judge(f).Problems {
			if p.Kind == Unproven {
				hint = p.Hint
			}
		}
		if !strings.Contains(hint, c.hint) {
			t.Errorf("%s: hint %q", name, hint)
		}
	}
}

func firstRunes(s string, n int) string { return string([]rune(s)[:n]) }

// TestOrder: the worst comes first, and what is no news does not hide what is.
func TestOrder(t *testing.T) {
	t.Parallel()
	f := wellFacts()
	f.UncleanEnd, f.Started = true, *before(time.Minute)
	f.Targets = Targets{}
	f.Storage.Refusing = true
	var kinds []Kind
	for _, p := range Judge(f).Problems {
		kinds = append(kinds, p.Kind)
	}
	if len(kinds) != 3 || kinds[0] != DiskFull || kinds[1] != NoTargets || kinds[2] != UncleanEnd {
		t.Errorf("%v", kinds)
	}
}

func TestRecentOf(t *testing.T) {
	t.Parallel()
	then := ledger.Terms{Appended: 10, Refused: map[string]uint64{"x": 5}, Lost: 3}
	now := ledger.Terms{Appended: 15, Refused: map[string]uint64{"x": 5, "y": 2}, Uncertain: map[string]uint64{"z": 4}, Evicted: 1, NotAppended: 6, Rejected: map[string]uint64{"r": 7, "memory": 2}}
	if got, want := RecentOf(then, now), (Recent{Appended: 5, Refused: 2, Uncertain: 4, Evicted: 1, NotAppended: 6, Rejected: 9, Limited: 2}); got != want {
		t.Errorf("%+v", got)
	}
}
