package agent

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	config_util "github.com/prometheus/common/config"
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

// tryTracing returns what keeps cfg's tracing from being begun: a certificate that is
// missing. Upstream ends the tracing in force before it finds out.
func tryTracing(cfg *config.Config) error {
	if cfg.TracingConfig.Endpoint == "" || cfg.TracingConfig.Insecure {
		return nil
	}
	if _, err := config_util.NewTLSConfig(&cfg.TracingConfig.TLSConfig); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	return nil
}

// trace begins or ends tracing as cfg says. Callers hold applyMtx.
func (r *run) trace(cfg *config.Config) error {
	err := r.agent.tracing.apply(cfg, r.agent.slogger.With("component", "tracing"))
	if err == nil && r.untraced {
		r.untraced = false
		level.Info(r.agent.opts.Logger).Log("msg", "Traces are sent")
	}
	return err
}

// tryToTrace goes on without traces where they cannot be sent, which is logged once.
// Callers hold applyMtx.
func (r *run) tryToTrace(cfg *config.Config) {
	err := r.trace(cfg)
	if err != nil && !r.untraced {
		r.untraced = true
		level.Error(r.agent.opts.Logger).Log("msg", "No traces are sent until the files that tracing needs can be used", "err", err)
	}
}

// tracesDeadline is how long sending the last traces may take. Upstream waits for 5 s for a
// collector that does not answer, which is all that a stop may take; nor can anything be
// scraped before the next run begins.
const tracesDeadline = time.Second

// stop sends what is left of the traces, and ends tracing.
func (t *tracing) stop(logger log.Logger) {
	t.mtx.Lock()
	manager := t.manager
	t.manager = nil
	t.mtx.Unlock()
	if manager == nil {
		return
	}
	stopped := make(chan struct{})
	go func() {
		manager.Stop()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(tracesDeadline):
		level.Warn(logger).Log("msg", "The last traces are not taken; leaving them behind")
	}
}
