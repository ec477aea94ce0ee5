package agenttest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/agent"
	"github.com/stretchr/testify/require"
)

// startPipeline runs upstream's scraping, agent storage and remote write from
// targets to an endpoint, without discovery, and returns how to stop it.
func startPipeline(t *testing.T, e *Endpoint, targets *Targets, message string) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(ca, e.CA(), 0o600))
	logger := slog.New(slog.DiscardHandler)
	cfg, err := config.Load(fmt.Sprintf(`
remote_write:
  - url: %s
    authorization: {credentials: %s}
    tls_config: {ca_file: %s}
    protobuf_message: %s
    send_native_histograms: true
    send_exemplars: true
    queue_config: {batch_send_deadline: 50ms, min_shards: 1, max_shards: 1}
scrape_configs:
%s    scrape_native_histograms: true
    convert_classic_histograms_to_nhcb: true
`, e.URL(), DefaultToken, ca, message, targets.ScrapeConfig("fake", 50*time.Millisecond)), logger)
	require.NoError(t, err)

	registry := prometheus.NewRegistry()
	rs := remote.NewStorage(logger, registry, func() (int64, error) { return 0, nil }, dir, time.Second, nil, false)
	db, err := agent.Open(logger, registry, rs, dir, &agent.Options{})
	require.NoError(t, err)
	db.SetWriteNotified(rs)
	require.NoError(t, rs.ApplyConfig(cfg))
	manager, err := scrape.NewManager(&scrape.Options{DiscoveryReloadOnStartup: true}, logger, nil, nil, db, registry)
	require.NoError(t, err)
	require.NoError(t, manager.ApplyConfig(cfg))
	groups := map[string][]*targetgroup.Group{}
	for _, sc := range cfg.ScrapeConfigs {
		for _, d := range sc.ServiceDiscoveryConfigs {
			groups[sc.JobName] = append(groups[sc.JobName], d.(discovery.StaticConfig)...)
		}
	}
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- groups
	done := make(chan error, 1)
	go func() { done <- manager.Run(sets) }()
	return func() {
		manager.Stop()
		close(sets)
		require.NoError(t, <-done)
		require.NoError(t, rs.Close())
		require.NoError(t, db.Close())
	}
}

func TestPipeline(t *testing.T) {
	metrics := []string{ScrapesMetric, "agenttest_hostile", "agenttest_explicit", "agenttest_histogram", "agenttest_float_histogram"}
	t.Run("remote write 1.0", func(t *testing.T) {
		testPipeline(t, Manners{}, "prometheus.WriteRequest", metrics)
	})
	t.Run("remote write 2.0", func(t *testing.T) {
		// Upstream sends custom buckets in 2.0 only.
		testPipeline(t, Manners{RemoteWrite2: AcceptRemoteWrite2}, "io.prometheus.write.v2.Request",
			append(metrics, "agenttest_classic_histogram"))
	})
}

func testPipeline(t *testing.T, manners Manners, message string, metrics []string) {
	e := startEndpoint(t, Options{Manners: manners})
	targets := startTargets(t)
	full := targets.Add("full", TargetOptions{
		Series: 20, Churn: 1, Explicit: []time.Duration{9 * time.Minute}, Histograms: 2, FloatHistograms: 1,
		ClassicHistograms: 1, Exemplars: true, Hostile: true, Wide: true,
	})
	stop := startPipeline(t, e, targets, message)
	// Upstream sends nothing from before its queue began.
	require.NoError(t, e.WaitFor(t.Context(), func(s *Snapshot) bool { return s.StoredSeries > 0 }))
	first := len(full.Answered())
	require.NoError(t, full.Await(t.Context(), first+5))
	full.Update(func(o *TargetOptions) { o.Series = 19 })
	require.NoError(t, full.Await(t.Context(), first+8))
	stop()

	snap := e.Snapshot()
	for _, metric := range metrics {
		got := snap.Scrapes(full, metric, time.Time{})
		require.Greater(t, got.Stored, 5, metric)
		require.LessOrEqual(t, len(got.Missing), first, metric)
		require.Empty(t, got.Repeated, metric)
		require.Empty(t, got.Disordered, metric)
		require.Empty(t, got.Unknown, metric)
		for _, series := range snap.Series(byName(metric)) {
			if exemplified := metric == ScrapesMetric || series.Samples[0].H != nil && series.Labels.Get("series") == "00000"; exemplified {
				// The stop may cut off the last one, which is sent by itself.
				require.GreaterOrEqual(t, len(series.Exemplars), got.Stored-1, metric)
			}
		}
	}
	require.Zero(t, snap.Scrapes(full, "agenttest_wide", time.Time{}).Stored)
	require.NotZero(t, snap.Refused[BadLabels])
	require.NoError(t, snap.CheckInOrder())
	require.Zero(t, snap.Duplicates)
	require.Len(t, snap.Series(byName("agenttest_hostile")), len(hostileValues))

	gauges := snap.Series(byName("agenttest_gauge"), labels.MustNewMatcher(labels.MatchEqual, "series", "00019"))
	require.Len(t, gauges, 1)
	vanished := gauges[0].Samples[len(gauges[0].Samples)-1]
	require.True(t, value.IsStaleNaN(vanished.V), "the series that vanished has a stale marker")
}
