package upstreamqueue

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/scrape"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// scrape scrapes the target at an address into the rig's WAL until the test ends.
// settings are further ones of its job.
func (r *rig) scrape(address, settings string) *scrape.Manager {
	r.t.Helper()
	logger := slog.New(slog.DiscardHandler)
	m, err := scrape.NewManager(&scrape.Options{DiscoveryReloadOnStartup: true, PassMetadataInContext: true}, logger, nil, nil, r.db, prometheus.NewRegistry())
	if err != nil {
		r.t.Fatal(err)
	}
	cfg, err := config.Load("scrape_configs: [{job_name: test, scrape_interval: 100ms, scrape_timeout: 100ms"+settings+"}]", logger)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := m.ApplyConfig(cfg); err != nil {
		r.t.Fatal(err)
	}
	groups := make(chan map[string][]*targetgroup.Group)
	ran := make(chan error, 1)
	go func() { ran <- m.Run(groups) }()
	r.t.Cleanup(func() { m.Stop(); <-ran })
	groups <- map[string][]*targetgroup.Group{"test": {{Source: "test", Targets: []model.LabelSet{{
		model.AddressLabel: model.LabelValue(strings.TrimPrefix(address, "http://")),
	}}}}}
	return m
}

// TestContractScrape: the size of each answer is told as it is read, 0 where there is
// none or it is too long.
func TestContractScrape(t *testing.T) {
	var (
		mtx     sync.Mutex
		body    = "a 1\n# " + strings.Repeat("x", 1000) + "\n"
		status  = http.StatusOK
		told    uint64 // last
		targets = map[*scrape.Target]bool{}
	)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mtx.Lock()
		defer mtx.Unlock()
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(status)
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, body)
		_ = z.Close()
	}))
	t.Cleanup(target.Close)
	t.Cleanup(ObserveBodies(func(target *scrape.Target, bytes uint64) {
		mtx.Lock()
		defer mtx.Unlock()
		targets[target], told = true, bytes
	}))
	r := newRig(t)
	m := r.scrape(target.URL, ", body_size_limit: 2KB")
	for _, change := range []struct {
		want uint64
		do   func()
	}{
		{uint64(len(body)), func() {}},
		{0, func() { status = http.StatusNotFound }},
		{4, func() { status, body = http.StatusOK, "a 1\n" }},
		{0, func() { body = strings.Repeat("a 1\n", 1000) }},
	} {
		mtx.Lock()
		change.do()
		mtx.Unlock()
		await(t, fmt.Sprintf("%d bytes", change.want), func() bool {
			mtx.Lock()
			defer mtx.Unlock()
			return told == change.want
		})
	}
	mtx.Lock()
	defer mtx.Unlock()
	if len(targets) != 1 || !targets[m.TargetsActive()["test"][0]] {
		t.Errorf("told of %d targets", len(targets))
	}
}

// TestBodies: who observes learns how much each target has answered, whoever else gets
// the spans; and nobody learns anything of spans that have no target.
func TestBodies(t *testing.T) {
	var target scrape.Target
	ask := func(ctx context.Context, bytes int) {
		_, span := otel.Tracer("").Start(ctx, scrapeSpan)
		span.SetAttributes(attribute.Int("samples_scraped", 1), attribute.Int("bytes", bytes))
		span.End()
	}
	var got, others []uint64
	stop := ObserveBodies(func(of *scrape.Target, bytes uint64) {
		if of != &target {
			t.Error("of another target")
		}
		got = append(got, bytes)
	})
	t.Cleanup(stop)
	t.Cleanup(ObserveBodies(func(_ *scrape.Target, bytes uint64) { others = append(others, bytes) }))
	user := tracetest.NewSpanRecorder()
	ctx := scrape.ContextWithTarget(t.Context(), &target)
	ask(ctx, 7)
	setProvider(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(user)))
	ask(ctx, 8)
	ask(ctx, -1) // too large
	ask(t.Context(), 9)
	stop()
	ask(ctx, 10)

	if want := []uint64{7, 8, 0}; !slices.Equal(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}
	if want := []uint64{7, 8, 0, 10}; !slices.Equal(others, want) {
		t.Errorf("the other observer: %v instead of %v", others, want)
	}
	ended := user.Ended()
	if len(ended) != 4 || len(ended[0].Attributes()) != 2 {
		t.Errorf("the user's provider got %d spans", len(ended))
	}
}
