package agenttest

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/time/rate"
)

// DefaultTenant and DefaultToken are what an endpoint knows that is told
// nothing else.
const (
	DefaultTenant = "default"
	DefaultToken  = "tenant-api-token-default"
)

// PushPath is where remote write goes.
const PushPath = "/api/v1/push"

// RemoteWrite2 is what an endpoint does with a remote write 2.0 request.
type RemoteWrite2 int

const (
	// RejectRemoteWrite2 answers 415, as a recent Cortex does.
	RejectRemoteWrite2 RemoteWrite2 = iota
	// IgnoreRemoteWrite2 answers 200 and stores nothing, as the Cortex that
	// Opstrace shipped does.
	IgnoreRemoteWrite2
	// AcceptRemoteWrite2 takes it and says in headers how much was written.
	AcceptRemoteWrite2
)

// Manners are the settings of the receiver. The zero value is Opstrace without
// a rate limit.
type Manners struct {
	// Window is how far a sample may lie behind the tenant's newest one. Zero
	// is Opstrace's hour, a negative value any distance.
	Window time.Duration
	// OutOfOrderWindow lets samples in behind the newest one of their series,
	// so far behind the tenant's newest one. Zero refuses them.
	OutOfOrderWindow time.Duration
	// RateLimit is in samples a second (Opstrace: 100,000 per distributor),
	// RateBurst the largest burst, twice the limit if zero. A zero RateLimit
	// is none.
	RateLimit float64
	RateBurst int
	// RequestLimit is in requests a second, of all tenants, with bursts of a second:
	// what an ingress in front may have, which answers 429. Zero is none.
	RequestLimit float64
	// RemoteWrite2 says what becomes of remote write 2.0.
	RemoteWrite2 RemoteWrite2
	// AllOrNothing refuses a whole request for one bad sample, as upstream
	// Prometheus does, and answers 204 instead of 200.
	AllOrNothing bool
	// RefuseAgain refuses the newest sample of a series, too, when it comes once more, as
	// the storage of upstream's agent does. The others take it, and store nothing.
	RefuseAgain bool
}

func (m Manners) withDefaults() Manners {
	if m.Window == 0 {
		m.Window = time.Hour
	}
	if m.RateBurst == 0 {
		m.RateBurst = int(2 * m.RateLimit)
	}
	return m
}

func (m Manners) limiter() *rate.Limiter {
	if m.RateLimit <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(m.RateLimit), m.RateBurst)
}

func (m Manners) requestLimiter() *rate.Limiter {
	if m.RequestLimit <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(m.RequestLimit), max(1, int(m.RequestLimit)))
}

// Options for a new endpoint. The zero value is https on a free loopback port
// with one tenant.
type Options struct {
	Manners
	// Addr is host:port, 127.0.0.1:0 if empty.
	Addr string
	// PlainHTTP serves http instead of https.
	PlainHTTP bool
	// Tokens are bearer tokens by tenant; {DefaultTenant: DefaultToken} if nil.
	// The empty token stands for a request without authorization.
	Tokens map[string]string
	// Keep selects the series of which every sample, exemplar and refusal is
	// kept, 24 bytes a sample. Of the others an endpoint keeps count, first
	// and last time and sum; it knows a duplicate only when it is their newest
	// sample, and cannot tell a refused sample that was there from a lost one
	// (Counters.Unknown). That is no match for an out-of-order window. Nil
	// keeps all.
	Keep func(labels.Labels) bool
}

// Endpoint is an Opstrace push endpoint on loopback. Its methods may be called
// from any goroutine.
type Endpoint struct {
	fronts   []*front     // the push endpoint, and with https the redirect to it
	identity *tlsIdentity // nil with plain http
	keep     func(labels.Labels) bool
	wire     atomic.Pointer[Wire]
	closing  chan struct{}
	handlers sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	manners  Manners
	limiter  *rate.Limiter     // of samples
	ingress  *rate.Limiter     // of requests
	tokens   map[string]string // tenant by token
	tenants  map[string]*tenant
	trouble  trouble
	requests []Request
	// Connections from before are not good any more.
	reconnectSince time.Time
	inFlight       int
	maxInFlight    int
	changed        chan struct{} // closed and replaced at every change
}

// NewEndpoint starts an endpoint. Close it.
func NewEndpoint(o Options) (*Endpoint, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	e := &Endpoint{
		keep:    o.Keep,
		closing: make(chan struct{}),
		tokens:  map[string]string{},
		tenants: map[string]*tenant{},
		changed: make(chan struct{}),
	}
	e.SetManners(o.Manners)
	if o.Tokens == nil {
		o.Tokens = map[string]string{DefaultTenant: DefaultToken}
	}
	for tenant, token := range o.Tokens {
		e.SetToken(tenant, token)
	}
	if err := e.listen(o.Addr, o.PlainHTTP); err != nil {
		e.Close()
		return nil, fmt.Errorf("cannot start an endpoint: %w", err)
	}
	return e, nil
}

func (e *Endpoint) listen(addr string, plain bool) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PushPath, e.push)
	if plain {
		open, err := newFront(addr, nil, &e.wire, mux)
		if err != nil {
			return err
		}
		e.fronts = []*front{open}
		return nil
	}
	var err error
	if e.identity, err = newTLSIdentity(); err != nil {
		return err
	}
	secure, err := newFront(addr, e.identity.config(), &e.wire, mux)
	if err != nil {
		return err
	}
	e.fronts = []*front{secure}
	toSecure := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://"+secure.addr.String()+r.URL.RequestURI())
		answerNginx(w, http.StatusPermanentRedirect)
	})
	redirect, err := newFront("127.0.0.1:0", nil, &e.wire, toSecure)
	if err != nil {
		return err
	}
	e.fronts = append(e.fronts, redirect)
	return nil
}

// URL is where to push to.
func (e *Endpoint) URL() string {
	scheme := "https"
	if e.identity == nil {
		scheme = "http"
	}
	return scheme + "://" + e.fronts[0].addr.String() + PushPath
}

// PlainURL is the same over plain http. An https endpoint answers there with a
// 308 to URL, on another port.
func (e *Endpoint) PlainURL() string {
	return "http://" + e.fronts[len(e.fronts)-1].addr.String() + PushPath
}

// CA is the certificate to trust, in PEM; nil with plain http.
func (e *Endpoint) CA() []byte {
	if e.identity == nil {
		return nil
	}
	return e.identity.ca
}

// SetTLS changes what clients meet in the handshake. A connection from before
// is closed at its next request, of which nothing is taken. It does nothing
// with plain http.
func (e *Endpoint) SetTLS(state TLSState) {
	if e.identity == nil {
		return
	}
	e.identity.state.Store(int32(state))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reconnectSince = time.Now()
}

// SetToken replaces the tokens of a tenant; with none it is locked out, as
// when its token has expired.
func (e *Endpoint) SetToken(tenant string, tokens ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for token, owner := range e.tokens {
		if owner == tenant {
			delete(e.tokens, token)
		}
	}
	for _, token := range tokens {
		e.tokens[token] = tenant
	}
}

// SetManners changes the settings for the requests to come. A rate limit
// begins with a full burst.
func (e *Endpoint) SetManners(m Manners) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.manners = m.withDefaults()
	e.limiter = e.manners.limiter()
	e.ingress = e.manners.requestLimiter()
}

// Down closes the listeners, and every connection once its request is answered or
// hangs. Clients are refused until Up;
// the ports stay the endpoint's own.
func (e *Endpoint) Down() error {
	for _, f := range e.fronts {
		if err := f.down(); err != nil {
			return fmt.Errorf("cannot go down: %w", err)
		}
	}
	return nil
}

// Up listens again on the same ports.
func (e *Endpoint) Up() error {
	for _, f := range e.fronts {
		if err := f.up(); err != nil {
			return fmt.Errorf("cannot come up: %w", err)
		}
	}
	return nil
}

// Close ends every connection and waits for the requests in flight. What was
// stored can still be asked for.
func (e *Endpoint) Close() {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.closing)
	}
	e.mu.Unlock()
	for _, f := range e.fronts {
		f.close()
	}
	e.handlers.Wait()
}
