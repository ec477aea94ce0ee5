package upstreamqueue

import (
	"github.com/prometheus/prometheus/scrape"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// Scrapes have nothing to do with queues, but a process has one tracer provider only,
// and elsewhere upstream tells the size of an answer in a series of each target.
const (
	scrapeSpan = "scrape" // upstream's name (scrape: scrapeAndReport)
	// bodyBytes is what upstream read of a target: not compressed, 0 when there was no
	// answer, -1 when it was too long.
	bodyBytes = attribute.Key("bytes")
)

// BodyObserver is told of every scrape in this process, in the scrape's own goroutine:
// how many bytes the target has answered, not compressed, and 0 if it has not.
type BodyObserver func(target *scrape.Target, bytes uint64)

// ObserveBodies calls o until the returned function is called.
func ObserveBodies(o BodyObserver) (stop func()) {
	ReinstallTracing()
	theTap.mtx.Lock()
	defer theTap.mtx.Unlock()
	theTap.bodies[&o] = true
	return func() {
		theTap.mtx.Lock()
		delete(theTap.bodies, &o)
		theTap.mtx.Unlock()
	}
}

func (t *tap) tellBody(target *scrape.Target, bytes uint64) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	for o := range t.bodies {
		(*o)(target, bytes)
	}
}

// scraped is the span of one scrape.
type scraped struct {
	trace.Span // the user's

	tap    *tap
	target *scrape.Target
}

// SetAttributes implements trace.Span.
func (s *scraped) SetAttributes(attrs ...attribute.KeyValue) {
	for _, a := range attrs {
		if a.Key == bodyBytes {
			s.tap.tellBody(s.target, uint64(max(0, a.Value.AsInt64())))
		}
	}
	s.Span.SetAttributes(attrs...)
}
