package agent

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/prometheus/prometheus/config"
	upstream "github.com/prometheus/prometheus/tracing"

	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// tracing serves a configuration's `tracing:` section with upstream's manager.
// The process has one tracer provider, which upstream's manager sets; delivery
// needs the spans of remote write, so its own goes in front again afterwards.
type tracing struct {
	mtx     sync.Mutex
	manager *upstream.Manager
}

func (t *tracing) apply(cfg *config.Config, logger *slog.Logger) error {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.manager == nil {
		if cfg.TracingConfig.Endpoint == "" {
			return nil
		}
		t.manager = upstream.NewManager(logger)
		go t.manager.Run()
	}
	if err := t.manager.ApplyConfig(cfg); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	upstreamqueue.ReinstallTracing()
	return nil
}

func (t *tracing) stop() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	if t.manager != nil {
		t.manager.Stop()
		t.manager = nil
	}
}
