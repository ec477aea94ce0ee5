package delivery

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

type outcomes struct {
	announced []int
	ended     []outcome
}

func (o *outcomes) before(_ context.Context, items int)   { o.announced = append(o.announced, items) }
func (o *outcomes) after(_ context.Context, what outcome) { o.ended = append(o.ended, what) }

// sendBatch does what upstream's queue does for one attempt.
func sendBatch(name string, err error) {
	ctx, span := otel.Tracer("").Start(context.Background(), batchSpan)
	defer span.End()
	span.SetAttributes(attribute.Int("samples", 2), attribute.Int("histograms", 1), attribute.String("remote_name", name), attribute.String("remote_url", "http://one/"))
	_, request := otel.Tracer("").Start(ctx, requestSpan)
	request.End()
	if err != nil {
		span.RecordError(err)
	}
}

// TestTap: a queue's batches are seen by its observer and nobody else, whatever
// the environment says of spans; all other spans go to the provider of the
// user, which may be set late.
func TestTap(t *testing.T) {
	t.Setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "0")
	t.Setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "1")
	t.Setenv("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	var one, other outcomes
	stop := observe("one", "http://one/", &one)
	defer observe("other", "http://one/", &other)()
	sendBatch("one", nil)
	sendBatch("one", errors.New("server returned HTTP status 401 Unauthorized: bad token"))

	user := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(user), sdktrace.WithSampler(sdktrace.AlwaysSample())))
	ReinstallTracing()
	ReinstallTracing() // again must not put it in front of itself
	sendBatch("one", nil)
	_, span := otel.Tracer("").Start(context.Background(), "scrape")
	span.End()
	stop()
	sendBatch("one", nil)

	want := []outcome{
		{samples: 2, histograms: 1},
		{samples: 2, histograms: 1, status: 401, err: "server returned HTTP status 401 Unauthorized: bad token"},
		{samples: 2, histograms: 1},
	}
	if !slices.Equal(one.ended, want) || !slices.Equal(one.announced, []int{3, 3, 3}) {
		t.Errorf("announced %v, ended %+v", one.announced, one.ended)
	}
	if len(other.announced)+len(other.ended) > 0 {
		t.Errorf("another queue's observer saw %+v", other)
	}
	if spans := user.Ended(); len(spans) != 1 || spans[0].Name() != "scrape" {
		t.Errorf("the user's provider got %v", spans)
	}
}
