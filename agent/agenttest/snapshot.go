package agenttest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
)

// Counters say what became of the samples that arrived. Each sample of a
// request that was looked at is in exactly one of Accepted, Refused,
// SilentlyLost, and the part of Duplicates that was not refused.
type Counters struct {
	// StoredSeries have at least one sample.
	StoredSeries int
	// Accepted samples were stored.
	Accepted int64
	// Duplicates were stored already, with this time and value, and arrived
	// again; whether they were refused or not.
	Duplicates int64
	// Refused samples, by reason.
	Refused map[Reason]int64
	// AlreadyThere counts the refused samples that are among Duplicates,
	// Unknown those of which an endpoint that does not keep them cannot tell.
	AlreadyThere, Unknown int64
	// SilentlyLost samples were acknowledged and not stored.
	SilentlyLost int64
	// Exemplars stored, and those that arrived again.
	Exemplars, DuplicateExemplars int64
	// Answers by status; 0 is a connection reset, 499 a client that left.
	Answers map[int]Tally
}

// Tally counts push requests and the samples in them.
type Tally struct {
	Requests int64 `json:"requests"`
	Samples  int64 `json:"samples"`
}

// Acknowledged counts the samples of requests answered with 2xx.
func (c *Counters) Acknowledged() (samples int64) {
	for status, tally := range c.Answers {
		if status/100 == 2 {
			samples += tally.Samples
		}
	}
	return samples
}

func (c *Counters) add(o *Counters) {
	c.StoredSeries += o.StoredSeries
	c.Accepted += o.Accepted
	c.Duplicates += o.Duplicates
	c.AlreadyThere += o.AlreadyThere
	c.Unknown += o.Unknown
	c.SilentlyLost += o.SilentlyLost
	c.Exemplars += o.Exemplars
	c.DuplicateExemplars += o.DuplicateExemplars
	for reason, n := range o.Refused {
		c.Refused[reason] += n
	}
	for status, tally := range o.Answers {
		sum := c.Answers[status]
		sum.Requests += tally.Requests
		sum.Samples += tally.Samples
		c.Answers[status] = sum
	}
}

// Request is one push request that is over.
type Request struct {
	At, Done time.Time // its head was read, its answer was about to be written
	Tenant   string
	Version  string
	Bytes    int // compressed
	Samples  int // floats and histograms in it
	Status   int // 0: the connection was reset; 499: the client did not wait
	Asked    bool
}

// Sample is one stored sample; H and FH are nil for a float.
type Sample struct {
	T  int64 // Unix milliseconds
	V  float64
	H  *histogram.Histogram
	FH *histogram.FloatHistogram
	At time.Time // when it arrived, in milliseconds
}

// Series is what is stored of one series.
type Series struct {
	Tenant      string
	Labels      labels.Labels
	Samples     []Sample // ascending by time; empty unless kept (Options.Keep)
	Exemplars   []exemplar.Exemplar
	Count       int
	First, Last int64   // times
	Sum         float64 // of the floats that are numbers
}

// Refusal is a sample that was refused, or silently lost.
type Refusal struct {
	Tenant string
	Labels labels.Labels
	Sample Sample
	Reason Reason
	// AlreadyThere tells that it was stored when it was refused, with this
	// value: nothing is lost.
	AlreadyThere bool
}

// Snapshot answers questions about what arrived. Counters and Requests are as
// of when it was taken; the methods read when they are called, so that they
// are never behind the counters.
type Snapshot struct {
	Counters
	Requests    []Request // of all tenants, in the order in which they ended
	MaxInFlight int       // most push requests at once, of all tenants

	endpoint *Endpoint
	tenant   *string // nil for all
	locked   bool    // the endpoint's lock is held
}

// Snapshot of all tenants together.
func (e *Endpoint) Snapshot() *Snapshot {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.snapshot(nil)
	s.locked = false
	return s
}

func (e *Endpoint) snapshot(tenant *string) *Snapshot {
	s := &Snapshot{
		Counters:    Counters{Refused: map[Reason]int64{}, Answers: map[int]Tally{}},
		Requests:    slices.Clip(e.requests),
		MaxInFlight: e.maxInFlight,
		endpoint:    e,
		tenant:      tenant,
		locked:      true,
	}
	for _, t := range s.tenants() {
		s.Counters.add(&t.counters)
	}
	return s
}

// WaitFor waits until what arrived satisfies done, which is asked at every
// change. The snapshot must not be used after done has returned, and done must
// not call the endpoint.
func (e *Endpoint) WaitFor(ctx context.Context, done func(*Snapshot) bool) error {
	for {
		e.mu.Lock()
		s := e.snapshot(nil)
		satisfied, changed := done(s), e.changed
		s.locked = false
		e.mu.Unlock()
		if satisfied {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("endpoint: %w with %s", ctx.Err(), s)
		}
	}
}

// Tenant is the same snapshot of one tenant.
func (s *Snapshot) Tenant(name string) *Snapshot {
	defer s.lock()()
	of := s.endpoint.snapshot(&name)
	of.locked = s.locked
	return of
}

// Tenants lists those that were let in.
func (s *Snapshot) Tenants() (names []string) {
	defer s.lock()()
	for _, t := range s.tenants() {
		if t.name != "" {
			names = append(names, t.name)
		}
	}
	return names
}

func (s *Snapshot) lock() (unlock func()) {
	if s.locked {
		return func() {}
	}
	s.endpoint.mu.Lock()
	return s.endpoint.mu.Unlock
}

// tenants is called with the lock held.
func (s *Snapshot) tenants() []*tenant {
	if s.tenant == nil {
		return slices.SortedFunc(maps.Values(s.endpoint.tenants), func(a, b *tenant) int {
			return cmp.Compare(a.name, b.name)
		})
	}
	if t, ok := s.endpoint.tenants[*s.tenant]; ok {
		return []*tenant{t}
	}
	return nil
}

// Series returns the stored series that all matchers match.
func (s *Snapshot) Series(matchers ...*labels.Matcher) (found []Series) {
	defer s.lock()()
	for _, t := range s.tenants() {
		for _, stored := range t.series {
			if stored.count > 0 && matches(stored.labels, matchers) {
				found = append(found, stored.export(t.name))
			}
		}
	}
	return found
}

func matches(ls labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (s *series) export(tenant string) Series {
	out := Series{
		Tenant: tenant, Labels: s.labels, Samples: make([]Sample, len(s.points)),
		Exemplars: slices.Clone(s.exemplars), Count: s.count, First: s.first, Last: s.last, Sum: s.sum,
	}
	for i, p := range s.points {
		out.Samples[i] = sampleOf(p.t, s.at(i), time.UnixMilli(p.at))
	}
	return out
}

func sampleOf(t int64, v sampleValue, at time.Time) Sample {
	return Sample{T: t, V: v.f, H: v.h, FH: v.fh, At: at}
}

// Metadata is the newest of each metric; where tenants differ, of any.
func (s *Snapshot) Metadata() map[string]metadata.Metadata {
	defer s.lock()()
	all := map[string]metadata.Metadata{}
	for _, t := range s.tenants() {
		maps.Copy(all, t.metadata)
	}
	return all
}

// Refusals lists the refused and the silently lost samples of kept series in
// the order in which they arrived.
func (s *Snapshot) Refusals() []Refusal {
	return s.refusals(func(refusal) bool { return true })
}

// Lost lists, once each, the samples that were refused or silently lost and
// that are not stored now either.
func (s *Snapshot) Lost() []Refusal {
	type key struct {
		s *series
		t int64
		v uint64
	}
	seen := map[key]bool{}
	return s.refusals(func(r refusal) bool {
		k := key{r.s, r.t, math.Float64bits(r.v.f)}
		if seen[k] || r.s.has(r.t, r.v) {
			return false
		}
		seen[k] = true
		return true
	})
}

func (s *Snapshot) refusals(want func(refusal) bool) (found []Refusal) {
	defer s.lock()()
	for _, t := range s.tenants() {
		for _, r := range t.refusals {
			if want(r) {
				found = append(found, Refusal{
					Tenant: t.name, Labels: r.s.labels, Sample: sampleOf(r.t, r.v, r.at),
					Reason: r.reason, AlreadyThere: r.there,
				})
			}
		}
	}
	return found
}

// CheckInOrder reports whether every series arrived in the order of time, replays
// of what was stored aside: nothing was lost for coming late, silently or with
// an answer, and nothing was let in by an out-of-order window.
func (s *Snapshot) CheckInOrder() error {
	var errs []error
	unlock := s.lock()
	for _, t := range s.tenants() {
		for _, stored := range t.series {
			if stored.disorder > 0 {
				errs = append(errs, fmt.Errorf("%s: %d samples arrived behind a newer one", stored.labels, stored.disorder))
			}
		}
	}
	unlock()
	for _, r := range s.refusals(func(r refusal) bool { return !r.there }) {
		switch r.Reason {
		case OutOfOrder, OutOfBounds, TooOld, Silent:
			errs = append(errs, fmt.Errorf("%s at %d: %s", r.Labels, r.Sample.T, r.Reason))
		}
	}
	if len(errs) > maxErrors {
		errs = append(errs[:maxErrors], fmt.Errorf("and %d more", len(errs)-maxErrors))
	}
	return errors.Join(errs...)
}

// maxErrors keeps a failed check readable.
const maxErrors = 10

// String sums a snapshot up in one line.
func (s *Snapshot) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d samples in %d series, %d duplicates, %d silently lost, refused %v, answers",
		s.Accepted, s.StoredSeries, s.Duplicates, s.SilentlyLost, s.Refused)
	for _, status := range slices.Sorted(maps.Keys(s.Answers)) {
		fmt.Fprintf(&b, " %d×%d", s.Answers[status].Requests, status)
	}
	return b.String()
}
