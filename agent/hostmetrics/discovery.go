package hostmetrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// Address is that of the one target, which is dialled in memory. Nothing else has the name:
// RFC 6761 keeps .invalid.
const Address = "host.invalid:80"

// SDConfig is an entry of host_sd_configs: this host as a target.
type SDConfig struct {
	Collectors Collectors `yaml:"collectors,omitempty"`
	// Instance is the target's label; empty: the host's name.
	Instance string `yaml:"instance,omitempty"`
}

func init() { discovery.RegisterConfig(&SDConfig{}) }

// Name implements discovery.Config.
func (*SDConfig) Name() string { return "host" }

// NewDiscovererMetrics implements discovery.Config.
func (*SDConfig) NewDiscovererMetrics(prometheus.Registerer, discovery.RefreshMetricsInstantiator) discovery.DiscovererMetrics {
	return &discovery.NoopDiscovererMetrics{}
}

// NewDiscoverer implements discovery.Config.
func (c *SDConfig) NewDiscoverer(discovery.DiscovererOptions) (discovery.Discoverer, error) {
	return c, nil
}

// Run implements discovery.Discoverer.
func (c *SDConfig) Run(ctx context.Context, up chan<- []*targetgroup.Group) {
	group := &targetgroup.Group{
		Source:  "host",
		Targets: []model.LabelSet{{model.AddressLabel: Address, model.InstanceLabel: model.LabelValue(c.Instance)}},
	}
	select {
	case up <- []*targetgroup.Group{group}:
	case <-ctx.Done():
		return
	}
	<-ctx.Done()
}
