package agent

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
)

// host is the exporter of this host's metrics, which is opened when a job is about them for
// the first time. Its collectors are those of the process: they stay as they were until it
// ends.
type host struct {
	mtx      sync.Mutex
	exporter *hostmetrics.Exporter // nil: not open
	err      error                 // why it cannot be opened
}

// hostCollectors returns what jobs say of this host's collectors, which is the same in all;
// is: one of them is about this host.
func hostCollectors(jobs []*config.ScrapeConfig) (cs hostmetrics.Collectors, is bool) {
	for _, job := range jobs {
		for _, sd := range job.ServiceDiscoveryConfigs {
			if h, of := sd.(*hostmetrics.SDConfig); of {
				return h.Collectors, true
			}
		}
	}
	return nil, false
}

// applyHost sees to it that this host can be scraped if a job is about it. That it cannot be
// is what its target tells: the others are scraped all the same.
func (a *Agent) applyHost(jobs []*config.ScrapeConfig) {
	cs, is := hostCollectors(jobs)
	if !is {
		return
	}
	a.host.mtx.Lock()
	defer a.host.mtx.Unlock()
	if e := a.host.exporter; e != nil {
		if !e.Collectors().Equal(cs) {
			level.Warn(a.opts.Logger).Log("msg", "The collectors of this host change at a restart only", "hint", "restart the agent")
		}
		return
	}
	a.host.exporter, a.host.err = hostmetrics.Open(cs, a.slogger.With("component", "host"))
	if a.host.err != nil {
		level.Error(a.opts.Logger).Log("msg", "Cannot open the collectors of this host", "err", a.host.err)
	}
}

// dialer returns dial for all addresses but that of this host.
func (h *host) dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != hostmetrics.Address {
			return dial(ctx, network, address)
		}
		h.mtx.Lock()
		exporter, err := h.exporter, h.err
		h.mtx.Unlock()
		switch {
		case err != nil:
			return nil, err
		case exporter == nil:
			return nil, errors.New("no job is about this host: there is no host block")
		}
		return exporter.Dial(ctx)
	}
}

// closeHost ends the exporter.
func (a *Agent) closeHost() {
	a.host.mtx.Lock()
	defer a.host.mtx.Unlock()
	if a.host.exporter == nil {
		return
	}
	if err := a.host.exporter.Close(); err != nil {
		level.Warn(a.opts.Logger).Log("msg", "Cannot close the collectors of this host", "err", err)
	}
	a.host.exporter = nil
}
