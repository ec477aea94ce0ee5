package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

var zero = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return zero.Add(time.Duration(seconds) * time.Second) }

func during(kind string, from, to int) span {
	s := span{event: event{kind: kind, on: "cortex"}, from: at(from)}
	if to > 0 {
		s.to = at(to)
	}
	return s
}

func looked(second, code int) look {
	return look{from: at(second), to: at(second).Add(time.Second / 10), pid: 1, code: code, headline: "it said so"}
}

// good are the facts of a run in which nothing is broken.
func good() facts {
	return facts{
		starts:  []time.Time{at(0)},
		ended:   at(100),
		looks:   []look{looked(1, 0), looked(110, 0)},
		exits:   []exit{{after: "killed", code: -1}, {after: "terminated"}},
		targets: []targetFacts{{"plain", 10, 100}},
		destinations: []destinationFacts{{
			name: "cortex", stored: 120, ledger: ledger.Terms{Appended: 120, Delivered: 120}, known: true,
		}},
	}
}

// changes are small ones to the facts of a good run, each with the rule that it breaks.
var changes = map[string]struct {
	change func(*facts)
	broken string // nothing: none
}{
	"nothing": {func(*facts) {}, ""},
	"ended":   {func(f *facts) { f.exits[0].after = "" }, "no exit by itself"},
	"code":    {func(f *facts) { f.exits[1].code = 1 }, "no exit by itself"},
	"panic":   {func(f *facts) { f.log = []string{"panic: oh"} }, "no panic"},
	"missing": {func(f *facts) { first(f).missing = 1 }, "every answered scrape is delivered or in a term"},
	"missing, lied about": {func(f *facts) {
		first(f).missing, first(f).lied, first(f).stored = 1, 7, 113
	}, ""},
	"missing, forgotten by a kill": {func(f *facts) {
		first(f).missing, first(f).unsaved, first(f).stored = 1, 7, 113
	}, ""},
	"missing, forgotten by the disk":     {func(f *facts) { first(f).missing, first(f).forgotten = 1, 1 }, ""},
	"missing, more than the disk forgot": {func(f *facts) { first(f).missing, first(f).forgotten = 2, 1 }, "every answered scrape is delivered or in a term"},
	"stored, not noted":                  {func(f *facts) { first(f).stored, first(f).unnoted = 127, 7 }, ""},
	"refused": {func(f *facts) {
		d := first(f)
		d.missing, d.refused, d.stored = 2, 5, 115
		d.ledger.Delivered, d.ledger.Refused = 115, map[string]uint64{"other": 5}
		f.spans = []span{during("refuse", 10, 12)}
	}, ""},
	"more missing than refused": {func(f *facts) {
		d := first(f)
		d.missing, d.refused, d.stored = 6, 5, 115
		d.ledger.Delivered, d.ledger.Refused = 115, map[string]uint64{"other": 5}
		f.spans = []span{during("refuse", 10, 12)}
	}, "every answered scrape is delivered or in a term"},
	"refused for nothing": {func(f *facts) {
		d := first(f)
		d.refused, d.stored = 5, 115
		d.ledger.Delivered, d.ledger.Refused = 115, map[string]uint64{"other": 5}
	}, "every term has a cause"},
	"more refused than the endpoint did": {func(f *facts) {
		d := first(f)
		d.refused, d.stored = 4, 115
		d.ledger.Delivered, d.ledger.Refused = 115, map[string]uint64{"other": 5}
		f.spans = []span{during("refuse", 10, 12)}
	}, "every term has a cause"},
	"lost": {func(f *facts) {
		d := first(f)
		d.stored, d.ledger.Delivered, d.ledger.Lost = 110, 110, 10
		f.spans = []span{during("refuse", 10, 12)}
	}, "every term has a cause"},
	"lost to a full disk": {func(f *facts) {
		d := first(f)
		d.stored, d.ledger.Delivered, d.ledger.Lost = 110, 110, 10
		f.spans = []span{during("inodes", 10, 12)}
	}, ""},
	"not counted": {func(f *facts) { f.targets[0].samples = 121 }, "what is appended is what was scraped"},
	"rejected": {func(f *facts) {
		f.targets[0].samples, first(f).ledger.Rejected = 121, map[string]uint64{"x": 1}
		f.spans = []span{during("twice", 10, 12)}
	}, ""},
	"not delivered": {func(f *facts) { first(f).stored = 119 }, "what is delivered is stored"},
	"uncertain": {func(f *facts) {
		d := first(f)
		d.refused, d.stored = 10, 116
		d.ledger.Delivered, d.ledger.Uncertain = 110, map[string]uint64{"x": 10}
		f.spans = []span{during("refuse", 10, 12)}
	}, ""},
	"more stored than counted": {func(f *facts) { first(f).stored = 121 }, "what is delivered is stored"},
	"a term too much":          {func(f *facts) { first(f).ledger.Filtered = map[string]uint64{"x": 1} }, "the ledger adds up"},
	"on disk":                  {func(f *facts) { first(f).ledger.OnDisk, first(f).ledger.Appended = 1, 121 }, "the ledger adds up"},
	"on disk, and stored": {func(f *facts) {
		first(f).ledger.OnDisk, first(f).ledger.Delivered = 20, 100
	}, "the ledger adds up"},
	"no account": {func(f *facts) { first(f).known = false }, "the ledger adds up"},
	"not at a moment": {func(f *facts) {
		f.looks[0].destinations = []seen{{Name: "cortex", Ledger: ledger.Terms{Appended: 2, Delivered: 1}}}
	}, "the ledger adds up"},
	"twice at a time": {func(f *facts) {
		first(f).stored, first(f).twice = 117, 5
		f.spans = []span{during("clock-back", 10, 20)}
	}, ""},
	"twice": {func(f *facts) { first(f).stored, first(f).twice = 117, 5 }, "what is delivered is stored"},
	"evicted, and stored before a kill": {func(f *facts) {
		d := first(f)
		d.stored, d.ledger.Delivered, d.ledger.Evicted = 118, 110, 10
		f.spans = []span{during("fill", 10, 20), during("kill", 15, 30)}
	}, ""},
	"evicted, and stored for no reason": {func(f *facts) {
		d := first(f)
		d.stored, d.ledger.Delivered, d.ledger.Evicted = 118, 110, 10
		f.spans = []span{during("fill", 10, 20), during("reset", 5, 15)}
	}, "what is delivered is stored"},
	"too large": {func(f *facts) { f.looks[0].resident = 400 << 20 }, "the memory is held"},
	"after much memory": {func(f *facts) {
		f.spans = []span{during("endless", 90, 100)}
		f.looks[0].goroutines, f.looks[0].resident, f.looks[1].resident = 100, 50<<20, 150<<20
	}, ""},
	"sent":            {withSender(func(*facts) {}), ""},
	"sent, not taken": {withSender(func(f *facts) { first(f).sent = 39 }), chain},
	"sent, refused by the endpoint": {withSender(func(f *facts) {
		d := first(f)
		d.sent, d.stored, d.refused = 39, 159, 1
		d.ledger.Delivered, d.ledger.Refused = 159, map[string]uint64{"other": 1}
		f.spans = []span{during("refuse", 10, 12)}
	}), ""},
	"sent, and taken without a word": {withSender(func(f *facts) { first(f).sent = 41 }), chain},
	"sent, and not on the books":     {withSender(func(f *facts) { f.sender.least = 41 }), chain},
	"missing, and evicted by the sender": {withSender(func(f *facts) {
		f.sender.ledger.Appended, f.sender.ledger.Evicted, first(f).missing = 45, 5, 5
		f.spans = []span{during("sender-fill", 10, 12)}
	}), ""},
	"evicted by the sender for nothing": {withSender(func(f *facts) {
		f.sender.ledger.Appended, f.sender.ledger.Evicted = 45, 5
		f.spans = []span{during("fill", 10, 12)}
	}), chain},
	"evicted by the agent as the sender's disk was full": {withSender(func(f *facts) {
		first(f).ledger.Appended, first(f).ledger.Evicted = 165, 5
		f.spans = []span{during("sender-fill", 10, 12)}
	}), "every term has a cause"},
	"rejected, sent again": {withSender(func(f *facts) {
		first(f).ledger.Rejected = map[string]uint64{"out_of_order": 5}
		f.spans = []span{during("link", 10, 12)}
	}), ""},
	"rejected, with no sender": {func(f *facts) {
		first(f).ledger.Rejected = map[string]uint64{"out_of_order": 5}
		f.spans = []span{during("kill", 10, 12)}
	}, "every term has a cause"},
	"twice, sent to two runs": {withSender(func(f *facts) {
		first(f).stored, first(f).twice = 157, 3
		f.spans = []span{during("kill", 10, 12)}
	}), ""},
	"twice, sent to one run": {withSender(func(f *facts) {
		first(f).stored, first(f).twice = 157, 3
		f.spans = []span{during("link", 10, 12)}
	}), "what is delivered is stored"},
	"the sender's sum": {withSender(func(f *facts) { f.sender.ledger.Appended++ }), chain},
	"the sender's sum at a moment": {withSender(func(f *facts) {
		f.looks[0].sender = &seen{Ledger: ledger.Terms{Appended: 1}}
	}), chain},
	"the sender's disk":   {withSender(func(f *facts) { f.sender.ledger.Appended, f.sender.ledger.OnDisk = 41, 1 }), chain},
	"the sender's budget": {withSender(func(f *facts) { f.looks[0].senderDisk = budget<<20 + 1 }), "the budget is held"},
	"the sender is late": {withSender(func(f *facts) {
		f.looks = append(f.looks, looked(160, 0))
		f.looks[2].sender = &seen{Ledger: ledger.Terms{Appended: 5000, OnDisk: 5000}}
	}), "caught up in time"},
	"no account of a sender": {withSender(func(f *facts) { f.sender.known = false }), chain},
	"order":                  {func(f *facts) { first(f).order = errors.New("behind a newer one") }, "in order"},
	"order, of what was lied about": {func(f *facts) {
		first(f).order, first(f).lied, first(f).stored = errors.New("behind a newer one"), 7, 113
	}, ""},
	"value":       {func(f *facts) { first(f).wrong = []string{"7 for 8"} }, "no value changed"},
	"budget":      {func(f *facts) { f.looks[0].disk = budget<<20 + 1 }, "the budget is held"},
	"budget held": {func(f *facts) { f.looks[0].disk = budget << 20 }, ""},
	"late": {func(f *facts) {
		f.looks = append(f.looks, looked(160, 0))
		f.looks[2].destinations = []seen{{Name: "cortex", Ledger: ledger.Terms{Appended: 5000, OnDisk: 5000}}}
	}, "caught up in time"},
	"not late yet": {func(f *facts) {
		f.looks[1].destinations = []seen{{Name: "cortex", Ledger: ledger.Terms{Appended: 5000, OnDisk: 5000}}}
	}, ""},
	"goroutines": {func(f *facts) { f.looks[0].goroutines, f.looks[1].goroutines = 100, 121 }, "goroutines and memory come back"},
	"goroutines of connections": {func(f *facts) {
		f.looks[0].goroutines, f.looks[1].goroutines, f.looks[1].sockets = 100, 220, 50
	}, ""},
	"memory": {func(f *facts) {
		f.looks[0].goroutines, f.looks[0].resident, f.looks[1].resident = 100, 50<<20, 150<<20
	}, "goroutines and memory come back"},
}

// chain is the rule about a sender.
const chain = "what a sender has as delivered is taken"

// withSender is a change of the facts of a run in which a sender has sent 40 samples.
func withSender(change func(*facts)) func(*facts) {
	return func(f *facts) {
		f.sender = &senderFacts{ledger: ledger.Terms{Appended: 40, Delivered: 40}, known: true, least: 40}
		d := first(f)
		d.sent, d.stored, d.ledger.Appended, d.ledger.Delivered = 40, 160, 160, 160
		change(f)
	}
}

func first(f *facts) *destinationFacts { return &f.destinations[0] }

// TestRules: each rule is broken by facts that are changed a little, and no other rule is.
func TestRules(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for name, c := range changes {
		f := good()
		c.change(&f)
		var broken []string
		for _, b := range judge(f) {
			broken = append(broken, b.rule)
		}
		if got := strings.Join(broken, ","); got != c.broken {
			t.Errorf("%s: broken is %q instead of %q", name, got, c.broken)
		}
		seen[c.broken] = true
	}
	// Those of the verdict have a test of their own.
	for _, r := range rules {
		if !seen[r.name] && !strings.Contains(r.name, "the verdict") {
			t.Errorf("nothing breaks %q", r.name)
		}
	}
}

func TestVerdictRules(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spans  []span
		starts []time.Time
		look   look
		untold bool // it tells nothing of a trouble
		wrong  bool // it tells of a trouble that is not there
	}{
		"well":                          {look: looked(100, 0)},
		"not well for nothing":          {look: looked(100, 1), wrong: true},
		"just started":                  {starts: []time.Time{at(90)}, look: looked(100, 1)},
		"trouble":                       {spans: []span{during("down", 50, 0)}, look: looked(100, 1)},
		"trouble, untold":               {spans: []span{during("down", 50, 0)}, look: looked(100, 0), untold: true},
		"trouble, not for long":         {spans: []span{during("down", 80, 0)}, look: looked(100, 0)},
		"trouble, over":                 {spans: []span{during("down", 50, 99)}, look: looked(100, 0)},
		"trouble, just over":            {spans: []span{during("down", 50, 60)}, look: looked(100, 1)},
		"trouble, long over":            {spans: []span{during("down", 10, 20)}, look: looked(100, 1), wrong: true},
		"refused, long over":            {spans: []span{during("refuse", 10, 20)}, look: looked(100, 1)},
		"harmless":                      {spans: []span{during("shrink", 90, 0)}, look: looked(100, 1), wrong: true},
		"trouble that need not be told": {spans: []span{during("late", 10, 0)}, look: looked(100, 0)},
		"trouble, and started since":    {spans: []span{during("down", 50, 0)}, starts: []time.Time{at(0), at(95)}, look: looked(100, 0)},
		"trouble, and slept since":      {spans: []span{during("down", 50, 0), during("stop", 60, 99)}, look: looked(100, 0)},
		"cannot be asked":               {look: looked(100, 2), untold: true, wrong: true},
		"cannot be asked yet":           {starts: []time.Time{at(95)}, look: looked(100, 2)},
		"is stopped":                    {spans: []span{during("stop", 50, 0)}, look: look{from: at(100), to: at(101), code: 2}},
	} {
		f := facts{spans: c.spans, starts: c.starts, looks: []look{c.look}}
		if f.starts == nil {
			f.starts = []time.Time{at(0)}
		}
		if how := untoldBroken(f); (len(how) > 0) != c.untold {
			t.Errorf("%s: untold: %q", name, how)
		}
		if how := invertedBroken(f); (len(how) > 0) != c.wrong {
			t.Errorf("%s: wrong: %q", name, how)
		}
	}
}

// TestUnsaved: what was refused before a kill may be forgotten, as long as it is not noted.
func TestUnsaved(t *testing.T) {
	t.Parallel()
	requests := []agenttest.Request{
		{Done: at(1), Status: 422, Samples: 1}, {Done: at(8), Status: 400, Samples: 10}, {Done: at(9), Status: 200, Samples: 100},
		{Done: at(11), Status: 422, Samples: 1000},
	}
	for kind, want := range map[string]uint64{"kill": 10, "term": 0, "broken": 1010} {
		if got := unsaved(requests, []span{during(kind, 10, 12)}); got != want {
			t.Errorf("%s: %d", kind, got)
		}
	}
}

// TestForgotten: of a device that breaks, what was written since the last sync before that is
// gone, and what was written until it was mended; of a process that is killed, nothing is.
func TestForgotten(t *testing.T) {
	t.Parallel()
	f := facts{spans: []span{during("broken", 20, 30), during("kill", 50, 51)}}
	for second, want := range map[int]bool{10: false, 14: true, 25: true, 29: true, 31: false, 49: false} {
		if got := f.forgottenAt(at(second)); got != want {
			t.Errorf("second %d: %t", second, got)
		}
	}
}
