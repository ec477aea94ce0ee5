package agenttest

import (
	"net/http"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
)

// Answer is what an endpoint does with a push request out of turn. The zero
// value is the usual treatment.
type Answer struct {
	// Status, Body and Header are the response; a zero Status leaves it to the
	// endpoint's manners.
	Status int
	Body   string
	Header http.Header
	// Delay is waited for before the request is looked at, Linger after it was
	// taken and before the response. A client that gives up during Delay has
	// stored nothing, during Linger all.
	Delay, Linger time.Duration
	// Store takes the request as usual although the response is another one.
	Store bool
	// Reset resets the connection instead of answering.
	Reset bool

	written *remote.WriteResponseStats
}

func (a *Answer) usual() bool { return a.Status == 0 && !a.Reset }

// EmptyRing is Opstrace while Cortex is in trouble: a 5xx disguised as 409.
func EmptyRing() Answer {
	return Answer{Status: http.StatusConflict, Body: "500-to-409: empty ring\n"}
}

// NginxError is an answer of the ingress in front of Opstrace, such as 502.
func NginxError(status int) Answer {
	return Answer{
		Status: status,
		Body:   nginxPage(status),
		Header: http.Header{"Content-Type": {"text/html"}},
	}
}

// Incoming is a push request as a hook sees it.
type Incoming struct {
	At      time.Time
	Tenant  string // empty if the token is nobody's
	Header  http.Header
	Version string // of remote write, 1.0 or 2.0
	Bytes   int    // compressed
	// Write is what was sent, in the terms of 1.0 whatever the version; nil if
	// the body could not be read. It belongs to the endpoint.
	Write *prompb.WriteRequest

	refusal *Answer // before anything in it is looked at
}

// Samples counts floats and histograms.
func (in *Incoming) Samples() (n int) {
	if in.Write == nil {
		return 0
	}
	for i := range in.Write.Timeseries {
		n += len(in.Write.Timeseries[i].Samples) + len(in.Write.Timeseries[i].Histograms)
	}
	return n
}

// trouble is what is asked of an endpoint beside its manners.
type trouble struct {
	next   []Answer
	hook   func(*Incoming) *Answer
	always *Answer
	until  time.Time // zero: until Recover
}

// Respond treats every push request so until Recover.
func (e *Endpoint) Respond(a Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble.always, e.trouble.until = &a, time.Time{}
}

// RespondFor treats every push request of the next d so.
func (e *Endpoint) RespondFor(d time.Duration, a Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble.always, e.trouble.until = &a, time.Now().Add(d)
}

// RespondNext treats the next push requests so, one each, before anything else
// that was asked for.
func (e *Endpoint) RespondNext(answers ...Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble.next = append(e.trouble.next, answers...)
}

// RespondIf asks hook about every push request; nil leaves it alone. Requests
// in flight at once ask at once.
func (e *Endpoint) RespondIf(hook func(*Incoming) *Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble.hook = hook
}

// Recover takes back everything that Respond and its relatives asked for.
func (e *Endpoint) Recover() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trouble = trouble{}
}

// choose returns how to treat a request, and whether that was asked for.
func (e *Endpoint) choose(in *Incoming) (_ Answer, asked bool) {
	e.mu.Lock()
	if len(e.trouble.next) > 0 {
		defer e.mu.Unlock()
		a := e.trouble.next[0]
		e.trouble.next = e.trouble.next[1:]
		return a, true
	}
	now := e.trouble
	e.mu.Unlock()
	if now.hook != nil {
		if a := now.hook(in); a != nil {
			return *a, true
		}
	}
	if now.always == nil || !now.until.IsZero() && !in.At.Before(now.until) {
		return Answer{}, false
	}
	return *now.always, true
}
