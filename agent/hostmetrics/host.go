package hostmetrics

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"github.com/prometheus/prometheus/config"
)

// Host is this host as a target: its exporter is opened when a job is about it for the first
// time. The zero value is ready to use. All its methods are for concurrent use.
type Host struct {
	mtx      sync.Mutex
	exporter *Exporter // nil: not open
	err      error     // why it cannot be opened
}

// ErrFixed is what Use returns for collectors that it cannot put into force.
var ErrFixed = errors.New("the collectors of this host change at a restart only")

// collectorsOf returns what jobs say of this host's collectors, which is the same in all; is:
// one of them is about this host.
func collectorsOf(jobs []*config.ScrapeConfig) (cs Collectors, is bool) {
	for _, job := range jobs {
		for _, sd := range job.ServiceDiscoveryConfigs {
			if h, of := sd.(*SDConfig); of {
				return h.Collectors, true
			}
		}
	}
	return nil, false
}

// Use sees to it that this host can be scraped if a job is about it. Errors are ErrFixed, or
// why it cannot: that is also what its target says then.
func (h *Host) Use(jobs []*config.ScrapeConfig, logger *slog.Logger) error {
	cs, is := collectorsOf(jobs)
	if !is {
		return nil
	}
	h.mtx.Lock()
	defer h.mtx.Unlock()
	if h.exporter == nil {
		h.exporter, h.err = Open(cs, logger)
		return h.err
	}
	if !h.exporter.collectors.Equal(cs) {
		return ErrFixed
	}
	return nil
}

// DialFunc connects to an address.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer connects to this host in memory, and to all others by dial.
func (h *Host) Dialer(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != Address {
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

// Close ends the exporter.
func (h *Host) Close() error {
	h.mtx.Lock()
	defer h.mtx.Unlock()
	if h.exporter == nil {
		return nil
	}
	err := h.exporter.Close()
	h.exporter = nil
	return err
}
