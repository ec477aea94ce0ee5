package delivery

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Upstream runs every batch of a queue in a span of its own, and each request
// in a child of it (storage/remote: createBatchSpan, Client.Store). These are
// the only places where it tells, per destination and synchronously, what is
// about to be sent and what became of it. One tracer provider for the process
// listens there; every other span goes where a user's `tracing:` section sends it.
const (
	batchSpan   = "Remote Send Batch"
	requestSpan = "Remote Store"
)

// outcome is what became of one attempt to send one batch.
type outcome struct {
	samples, histograms, exemplars int
	// err is the endpoint's answer in upstream's words; empty means acknowledged.
	err string
	// status is the HTTP status; 0 when there was no answer.
	status int
	// retried: upstream tries the same batch again by itself.
	retried bool
}

func (o outcome) items() int { return o.samples + o.histograms + o.exemplars }

// observer is told of every batch of one live queue, in the queue's own
// goroutine: by not returning, it holds the queue.
type observer interface {
	// before a request is made. ctx ends when the queue is stopped, or with the
	// request's timeout.
	before(ctx context.Context, items int)
	// after an attempt. ctx ends when the queue is stopped.
	after(ctx context.Context, o outcome)
}

// destinationKey tells queues apart: names are unique within a configuration,
// but not within a process that runs several agents.
type destinationKey struct{ name, url string }

// tap is the process's tracer provider.
type tap struct {
	trace.TracerProvider // for all other spans

	own *sdktrace.TracerProvider

	mtx       sync.Mutex
	observers map[destinationKey]observer
	contexts  map[trace.SpanID]context.Context
}

var (
	tapMtx sync.Mutex
	theTap *tap

	// untouched is what OpenTelemetry has before anybody sets a provider. It
	// passes everything on to the one that is set: to put ours in front of it
	// would be a circle.
	untouched = otel.GetTracerProvider()
)

// observe makes o the observer of the queue with that name and URL, until the
// returned function is called.
func observe(name, url string, o observer) (stop func()) {
	tapMtx.Lock()
	defer tapMtx.Unlock()
	if theTap == nil {
		theTap = &tap{observers: map[destinationKey]observer{}, contexts: map[trace.SpanID]context.Context{}}
		theTap.own = sdktrace.NewTracerProvider(
			sdktrace.WithSampler(sdktrace.AlwaysSample()),
			// Without limits: those of the environment (OTEL_SPAN_*) could cut
			// off the error, and what has none counts as acknowledged.
			sdktrace.WithRawSpanLimits(sdktrace.SpanLimits{
				AttributeValueLengthLimit: -1, AttributeCountLimit: -1, EventCountLimit: -1,
				LinkCountLimit: -1, AttributePerEventCountLimit: -1, AttributePerLinkCountLimit: -1,
			}),
			sdktrace.WithSpanProcessor(theTap),
		)
	}
	installLocked()
	key := destinationKey{name, url}
	t := theTap
	t.mtx.Lock()
	t.observers[key] = o
	t.mtx.Unlock()
	return func() {
		t.mtx.Lock()
		delete(t.observers, key)
		t.mtx.Unlock()
	}
}

// ReinstallTracing must be called after something else has set the process's
// tracer provider: it puts ours in front of it again.
func ReinstallTracing() {
	tapMtx.Lock()
	defer tapMtx.Unlock()
	if theTap != nil {
		installLocked()
	}
}

func installLocked() {
	current := otel.GetTracerProvider()
	switch current {
	case theTap:
		return
	case untouched:
		current = noop.NewTracerProvider()
	}
	theTap.mtx.Lock()
	theTap.TracerProvider = current
	theTap.mtx.Unlock()
	otel.SetTracerProvider(theTap)
}

// Tracer returns a tracer that keeps the spans of remote write for the
// observers and passes on the others.
func (t *tap) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	t.mtx.Lock()
	next := t.TracerProvider
	t.mtx.Unlock()
	return tapTracer{Tracer: next.Tracer(name, opts...), own: t.own.Tracer(name, opts...)}
}

type tapTracer struct {
	trace.Tracer

	own trace.Tracer
}

func (t tapTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if name == batchSpan || name == requestSpan {
		return t.own.Start(ctx, name, opts...)
	}
	return t.Tracer.Start(ctx, name, opts...)
}

// OnStart implements sdktrace.SpanProcessor. A batch's attributes are set after
// its start, so it is announced by the start of the request below it.
func (t *tap) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) {
	if s.Name() == batchSpan {
		t.mtx.Lock()
		t.contexts[s.SpanContext().SpanID()] = ctx
		t.mtx.Unlock()
		return
	}
	parent, ok := trace.SpanFromContext(ctx).(sdktrace.ReadOnlySpan)
	if !ok || parent.Name() != batchSpan {
		return
	}
	if o, b := t.observerOf(parent); o != nil {
		o.before(ctx, b.items())
	}
}

// OnEnd implements sdktrace.SpanProcessor.
func (t *tap) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.Name() != batchSpan {
		return
	}
	id := s.SpanContext().SpanID()
	t.mtx.Lock()
	ctx := t.contexts[id]
	delete(t.contexts, id)
	t.mtx.Unlock()
	if o, b := t.observerOf(s); o != nil && ctx != nil {
		o.after(ctx, b)
	}
}

// Shutdown implements sdktrace.SpanProcessor.
func (*tap) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (*tap) ForceFlush(context.Context) error { return nil }

func (t *tap) observerOf(s sdktrace.ReadOnlySpan) (observer, outcome) {
	var (
		key destinationKey
		o   outcome
	)
	for _, a := range s.Attributes() {
		switch a.Key {
		case "remote_name":
			key.name = a.Value.AsString()
		case "remote_url":
			key.url = a.Value.AsString()
		case "samples":
			o.samples = int(a.Value.AsInt64())
		case "histograms":
			o.histograms = int(a.Value.AsInt64())
		case "exemplars":
			o.exemplars = int(a.Value.AsInt64())
		}
	}
	for _, e := range s.Events() {
		if e.Name == "exception" {
			o.readError(e.Attributes)
		}
	}
	t.mtx.Lock()
	defer t.mtx.Unlock()
	return t.observers[key], o
}

// readError takes an attempt's error from its span event. Upstream retries
// what is of its type RecoverableError, and nothing else.
func (o *outcome) readError(attrs []attribute.KeyValue) {
	for _, a := range attrs {
		switch a.Key {
		case "exception.message":
			o.err = a.Value.AsString()
		case "exception.type":
			o.retried = strings.HasSuffix(a.Value.AsString(), "remote.RecoverableError")
		}
	}
	const prefix = "server returned HTTP status "
	if rest, ok := strings.CutPrefix(o.err, prefix); ok && len(rest) >= 3 {
		o.status, _ = strconv.Atoi(rest[:3])
	}
	if o.err == "" {
		o.err = "unknown error"
	}
}
