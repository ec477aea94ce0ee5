package upstreamqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Upstream's names of the spans that are listened to (storage/remote:
// createBatchSpan, Client.Store).
const (
	batchSpan   = "Remote Send Batch"
	requestSpan = "Remote Store"
)

// statusPrefix begins every error of upstream's that is an endpoint's answer
// (storage/remote: Client.Store); the status code follows.
const statusPrefix = "server returned HTTP status "

// Outcome is what became of one attempt to send one batch.
type Outcome struct {
	Samples, Histograms, Exemplars int

	// Err is the endpoint's answer in upstream's words; empty means acknowledged.
	Err string
	// Status is the HTTP status; 0 when there was no answer, and when it was
	// acknowledged.
	Status int
	// Retried: upstream tries the same batch again by itself.
	Retried bool
	// Unsent: there was no request, since Observer.Entry gave an error, or an entry
	// that the queue cannot go on with. In the latter case it is not Retried, and the
	// queue has to be stopped: to be started anew.
	Unsent bool
}

// Items is the size of the batch: samples, histograms and exemplars.
func (o Outcome) Items() int { return o.Samples + o.Histograms + o.Exemplars }

// Observer is told of every batch of one queue, in the queue's own goroutine:
// by not returning, it holds the queue. Before and After must be set.
type Observer struct {
	// Entry returns what the entry is now, before Before is asked: the one of Start or
	// of the last time, or another that differs in secrets, which the queue takes over
	// then. With an error, no request is made, and After is told. It must return when
	// ctx ends, as for Before. Nil: the entry stays as it is.
	Entry func(ctx context.Context) (*config.RemoteWriteConfig, error)
	// Before a request is made for a batch of so many items. The request is made
	// when it returns. ctx ends when the queue is stopped and its flush deadline
	// has passed, or with the entry's remote_timeout, which runs meanwhile; the
	// request fails then.
	Before func(ctx context.Context, items int)
	// After an attempt, but for one that only took over another entry. ctx ends when
	// the queue is stopped and its flush deadline has passed: what is not acknowledged
	// then may have been cut off.
	After func(ctx context.Context, o Outcome)

	// take has the queue go on with what Entry returns; nil: there is no Entry.
	take func(ctx context.Context) error
}

// destinationKey tells queues apart by what upstream puts on their spans:
// names are unique within a configuration, but not within a process that runs
// several agents.
type destinationKey struct{ name, url string }

func keyOf(cfg *config.RemoteWriteConfig) destinationKey {
	return destinationKey{cfg.Name, cfg.URL.String()}
}

// tap is the process's tracer provider. It stands in front of the one that a
// user's tracing configuration sets, passes every span on to it, and looks at
// those of upstream's queues, and of scrapes.
type tap struct {
	trace.TracerProvider // the user's; changed under mtx

	mtx       sync.Mutex
	observers map[destinationKey]Observer
	bodies    map[*BodyObserver]bool
}

var (
	tapMtx sync.Mutex
	theTap = &tap{TracerProvider: noop.NewTracerProvider(), observers: map[destinationKey]Observer{}, bodies: map[*BodyObserver]bool{}}

	// untouched is what OpenTelemetry has before anybody sets a provider. It
	// passes everything on to the one that is set: to put ours in front of it
	// would be a circle.
	untouched = otel.GetTracerProvider()
)

// observe makes o the observer of the queue with that key, until the returned
// function is called.
func observe(key destinationKey, o Observer) (stop func(), err error) {
	ReinstallTracing()
	theTap.mtx.Lock()
	defer theTap.mtx.Unlock()
	if _, taken := theTap.observers[key]; taken {
		return nil, fmt.Errorf("another queue of this process is named %q and sends to the same URL", key.name)
	}
	theTap.observers[key] = o
	return func() {
		theTap.mtx.Lock()
		delete(theTap.observers, key)
		theTap.mtx.Unlock()
	}, nil
}

// ReinstallTracing must be called at once after something else has set the
// process's tracer provider: it puts ours in front of it again. A batch that is
// sent in between is not seen.
func ReinstallTracing() {
	tapMtx.Lock()
	defer tapMtx.Unlock()
	next := otel.GetTracerProvider()
	switch next {
	case theTap:
		return
	case untouched:
		next = noop.NewTracerProvider()
	}
	theTap.mtx.Lock()
	theTap.TracerProvider = next
	theTap.mtx.Unlock()
	otel.SetTracerProvider(theTap)
}

// Tracer implements trace.TracerProvider.
func (t *tap) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	t.mtx.Lock()
	next := t.TracerProvider
	t.mtx.Unlock()
	return tracer{Tracer: next.Tracer(name, opts...), tap: t}
}

// observer returns the observer of a queue, if it has one.
func (t *tap) observer(key destinationKey) (o Observer, ok bool) {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	o, ok = t.observers[key]
	return o, ok
}

type tracer struct {
	trace.Tracer // the user's

	tap *tap
}

// Start implements trace.Tracer. A batch's attributes are set after its start,
// so it is announced by the start of the request below it.
func (t tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if parent, ok := trace.SpanFromContext(ctx).(*batch); ok {
		if o, ok := t.tap.observer(parent.key); ok && name == requestSpan {
			ctx = parent.begin(ctx, o)
		}
		// A provider may give back the parent for the child: its end would be
		// taken for that of the batch.
		ctx = trace.ContextWithSpan(ctx, parent.Span)
	}
	ctx, span := t.Tracer.Start(ctx, name, opts...)
	switch name {
	case requestSpan:
		ctx, unguard := guarded(ctx)
		return ctx, &request{span, unguard}
	case scrapeSpan:
		if target, ok := scrape.TargetFromContext(ctx); ok {
			span = &scraped{span, t.tap, target}
		}
		return ctx, span
	case batchSpan:
	default:
		return ctx, span
	}
	b := &batch{Span: span, tap: t.tap, ctx: ctx}
	return trace.ContextWithSpan(ctx, b), b
}

// batch is the span of one attempt to send one batch. It is used in the
// queue's goroutine only.
type batch struct {
	trace.Span // the user's

	tap     *tap
	ctx     context.Context // ends when the queue is shut down
	key     destinationKey
	outcome Outcome
	unsent  error // why no request is made
	ended   bool
}

// begin announces the request for the batch, and returns the context to make it in. It
// has ended if there is to be none: net/http sends nothing then, and a client of an
// entry without files waits for nothing before it looks.
func (b *batch) begin(ctx context.Context, o Observer) context.Context {
	if o.take != nil {
		if b.unsent = o.take(ctx); b.unsent != nil {
			ended, end := context.WithCancelCause(ctx)
			end(b.unsent)
			return ended
		}
	}
	o.Before(ctx, b.outcome.Items())
	return ctx
}

// SetAttributes implements trace.Span.
func (b *batch) SetAttributes(attrs ...attribute.KeyValue) {
	for _, a := range attrs {
		switch a.Key {
		case "remote_name":
			b.key.name = a.Value.AsString()
		case "remote_url":
			b.key.url = a.Value.AsString()
		case "samples":
			b.outcome.Samples = int(a.Value.AsInt64())
		case "histograms":
			b.outcome.Histograms = int(a.Value.AsInt64())
		case "exemplars":
			b.outcome.Exemplars = int(a.Value.AsInt64())
		}
	}
	b.Span.SetAttributes(attrs...)
}

// RecordError implements trace.Span.
func (b *batch) RecordError(err error, opts ...trace.EventOption) {
	if err != nil {
		b.outcome.readError(err)
	}
	b.Span.RecordError(err, opts...)
}

// End implements trace.Span. The user's span ends first: what holds the queue
// afterwards is not part of the attempt.
func (b *batch) End(opts ...trace.SpanEndOption) {
	b.Span.End(opts...)
	if b.ended {
		return
	}
	b.ended = true
	if errors.Is(b.unsent, errTaken) {
		return // upstream tries again, with the client that it has now
	}
	if b.unsent != nil {
		b.outcome.Err, b.outcome.Status, b.outcome.Unsent = b.unsent.Error(), 0, true
		b.outcome.Retried = !errors.Is(b.unsent, errOther)
	}
	if o, ok := b.tap.observer(b.key); ok {
		o.After(b.ctx, b.outcome)
	}
}

// readError takes over an attempt's error. Upstream retries what is of its type
// RecoverableError, and nothing else.
func (o *Outcome) readError(err error) {
	var recoverable remote.RecoverableError
	o.Retried = errors.As(err, &recoverable)
	o.Err = err.Error()
	if rest, ok := strings.CutPrefix(o.Err, statusPrefix); ok && len(rest) >= 3 {
		o.Status, _ = strconv.Atoi(rest[:3])
	}
	if o.Err == "" {
		// What has no words would pass for acknowledged.
		o.Err = "unknown error"
	}
}
