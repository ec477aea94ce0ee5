// Package pushcheck finds out whether a remote_write destination would take
// samples: it posts one empty write over the connection that the agent itself
// would make, and watches that connection step by step. On demand it sends one
// sample too.
package pushcheck

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

// State of a step.
type State string

const (
	OK     State = "ok"
	Note   State = "note" // works, and is worth knowing
	Failed State = "FAIL"
)

// Names of steps, in the order in which they are taken.
const (
	StepToken  = "token"  // is readable, and what it says of itself
	StepProxy  = "proxy"  // is asked for the connection
	StepDNS    = "dns"    // of the endpoint, or of the proxy
	StepTCP    = "tcp"    // to the endpoint, or to the proxy
	StepTLS    = "tls"    // with the endpoint
	StepClock  = "clock"  // of this host against the endpoint's
	StepAuth   = "auth"   // the token is accepted
	StepTenant = "tenant" // is the token's
	StepWrite  = "write"  // an empty one is accepted
	StepSample = "sample" // one that is made for the check is accepted
)

// Step is one thing that was looked at.
type Step struct {
	Name  string
	State State
	Text  string        // one line; in the endpoint's words where it is the endpoint that refuses
	Hint  string        // what to do; empty if there is nothing
	Took  time.Duration // 0 if it takes no time
}

// Options of a check.
type Options struct {
	// Sample: one sample is written after the empty write. An endpoint that can
	// store nothing at the moment takes an empty write all the same.
	Sample bool
	// External labels are put on it.
	External labels.Labels
}

// Check takes the steps for one destination, as scrapeconfig.LoadFile returns
// it, and reports each as it is done. It ends at the first one that fails, and
// reports whether none did. It takes no longer than the destination's
// remote_timeout.
func Check(ctx context.Context, rw *config.RemoteWriteConfig, o Options, report func(Step)) bool {
	c := &check{rw: rw, options: o, report: report}
	defer c.end()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rw.RemoteTimeout))
	defer cancel()
	if !c.readToken() || !c.describeProxy() {
		return false
	}
	c.noteReadable()
	return c.write(ctx)
}

// check is one destination being checked.
type check struct {
	rw        *config.RemoteWriteConfig
	options   Options
	anonymous bool   // nothing authorizes the requests
	token     *token // nil: something else does, or nothing
	proxy     string // host of the proxy; empty: none
	v2        bool   // remote write 2.0

	mu     sync.Mutex
	report func(Step) // nil once the check is over
}

// say reports a step. A connection that was given up may still have something
// to say afterwards: nobody wants to know.
func (c *check) say(s Step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.report != nil {
		c.report(s)
	}
}

func (c *check) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report = nil
}

func (c *check) ok(name, text string, took time.Duration) {
	c.say(Step{Name: name, State: OK, Text: text, Took: took})
}

func (c *check) note(name, text, hint string) {
	c.say(Step{Name: name, State: Note, Text: text, Hint: hint})
}

// fail returns false, for the caller to return.
func (c *check) fail(name, text, hint string) bool {
	c.say(Step{Name: name, State: Failed, Text: text, Hint: hint})
	return false
}
