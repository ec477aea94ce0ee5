package agent_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestOTLP: what the SDK of OpenTelemetry exports arrives, with its resource as job and
// instance, also after a kill of the agent.
func TestOTLP(t *testing.T) {
	t.Parallel()
	for name, compression := range map[string]otlpmetrichttp.Compression{"plain": otlpmetrichttp.NoCompression, "gzip": otlpmetrichttp.GzipCompression} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.Address = free(t)
			r.start()
			exporter, err := otlpmetrichttp.New(t.Context(), otlpmetrichttp.WithEndpoint(r.options.Address), otlpmetrichttp.WithInsecure(),
				otlpmetrichttp.WithURLPath("/api/v1/otlp/v1/metrics"), otlpmetrichttp.WithCompression(compression),
				otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{Enabled: true, InitialInterval: 50 * time.Millisecond, MaxInterval: 200 * time.Millisecond, MaxElapsedTime: patience}))
			if err != nil {
				t.Fatal(err)
			}
			provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithInterval(time.Hour))),
				sdkmetric.WithResource(resource.NewSchemaless(attribute.String("service.name", "shop"), attribute.String("service.instance.id", "1"))))
			t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
			meter := provider.Meter("test")
			orders, err := meter.Int64Counter("orders", metric.WithUnit("{order}"))
			if err != nil {
				t.Fatal(err)
			}
			latency, err := meter.Float64Histogram("latency", metric.WithUnit("s"))
			if err != nil {
				t.Fatal(err)
			}
			const rounds = 5
			for i := range rounds {
				orders.Add(t.Context(), 1, metric.WithAttributes(attribute.String("kind", "book")))
				latency.Record(t.Context(), 0.2)
				if i == 2 {
					r.kill()
					r.start()
				}
				if err := provider.ForceFlush(t.Context()); err != nil {
					t.Fatal(err)
				}
				for at := time.Now().UnixMilli(); time.Now().UnixMilli() == at; { // of one time, one is taken
				}
			}
			r.eventually("all to arrive", func() error {
				for name, want := range map[string]float64{"orders_total": rounds, "latency_seconds_count": rounds} {
					all := r.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, "__name__", name),
						labels.MustNewMatcher(labels.MatchEqual, "job", "shop"), labels.MustNewMatcher(labels.MatchEqual, "instance", "1"))
					if len(all) != 1 || all[0].Count != rounds || all[0].Samples[rounds-1].V != want {
						return fmt.Errorf("%s: %+v", name, all)
					}
				}
				return nil
			})
		})
	}
}
