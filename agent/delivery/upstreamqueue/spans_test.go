package upstreamqueue

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// sendBatch does what upstream's queue does for one attempt.
func sendBatch(name string, err error) {
	ctx, span := otel.Tracer("").Start(context.Background(), batchSpan)
	defer span.End()
	span.SetAttributes(attribute.Int("samples", 2), attribute.Int("histograms", 1), attribute.Int("exemplars", 4), attribute.String("remote_name", name), attribute.String("remote_url", "http://one/"))
	_, request := otel.Tracer("").Start(ctx, requestSpan)
	request.End()
	if err != nil {
		span.RecordError(err)
	}
}

// observed makes w the observer of a queue for the time of the test.
func observed(t *testing.T, name string, w *watch) (stop func()) {
	t.Helper()
	stop, err := observe(destinationKey{name, "http://one/"}, w.observer())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return stop
}

// setProvider sets the user's tracer provider for the time of the test.
func setProvider(t *testing.T, p trace.TracerProvider) {
	otel.SetTracerProvider(p)
	ReinstallTracing()
	ReinstallTracing() // again must not put it in front of itself
	t.Cleanup(func() {
		otel.SetTracerProvider(noop.NewTracerProvider())
		ReinstallTracing()
	})
}

// TestTap: a queue's batches are seen by its observer and nobody else, whatever
// the environment says of spans; the user's provider, which may be set late,
// gets all spans as if nobody listened.
func TestTap(t *testing.T) {
	t.Setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "0")
	t.Setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
	t.Setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
	var one, other watch
	stop := observed(t, "one", &one)
	observed(t, "other", &other)
	refused := errors.New("server returned HTTP status 401 Unauthorized: bad token")
	sendBatch("one", nil)
	sendBatch("one", refused)
	sendBatch("one", errors.New(""))

	user := tracetest.NewSpanRecorder()
	setProvider(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(user), sdktrace.WithSampler(sdktrace.AlwaysSample())))
	sendBatch("one", nil)
	_, span := otel.Tracer("").Start(t.Context(), "scrape")
	span.End()
	stop()
	sendBatch("one", nil)

	sent := Outcome{Samples: 2, Histograms: 1, Exemplars: 4}
	want := []Outcome{sent, sent, sent, sent}
	want[1].Status, want[1].Err = 401, refused.Error()
	want[2].Err = "unknown error"
	announced, ended := one.seen()
	if !slices.Equal(ended, want) || !slices.Equal(announced, []int{7, 7, 7, 7}) {
		t.Errorf("announced %v, ended %+v", announced, ended)
	}
	if announced, ended := other.seen(); len(announced)+len(ended) > 0 {
		t.Errorf("another queue's observer saw %v, %v", announced, ended)
	}
	var got []string
	for _, s := range user.Ended() {
		got = append(got, s.Name())
		if s.Name() == requestSpan && !s.Parent().IsValid() {
			t.Error("a request's span has lost its parent")
		}
	}
	if want := []string{requestSpan, batchSpan, "scrape", requestSpan, batchSpan}; !slices.Equal(got, want) {
		t.Errorf("the user's provider got %v, want %v", got, want)
	}
}

// TestTapChangedMeanwhile: a batch ends when it ends, though the user's provider
// is taken away between its span and the request's. A provider that does nothing
// gives back the parent for the child then.
func TestTapChangedMeanwhile(t *testing.T) {
	var w watch
	observed(t, "one", &w)
	setProvider(t, sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())))
	ctx, span := otel.Tracer("").Start(t.Context(), batchSpan)
	span.SetAttributes(attribute.Int("samples", 1), attribute.String("remote_name", "one"), attribute.String("remote_url", "http://one/"))
	setProvider(t, noop.NewTracerProvider())
	_, request := otel.Tracer("").Start(ctx, requestSpan)
	request.End()
	if announced, ended := w.seen(); len(announced) != 1 || len(ended) != 0 {
		t.Errorf("before the end of the batch: announced %v, ended %v", announced, ended)
	}
	span.RecordError(errors.New("refused"))
	span.End()
	span.End()
	if _, ended := w.seen(); len(ended) != 1 || ended[0].Err != "refused" {
		t.Errorf("ended %v", ended)
	}
}
