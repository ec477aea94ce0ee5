package hostmetrics

import (
	"context"
	"os"

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
	Instance   string     `yaml:"instance,omitempty"` // label of the target; empty: the host's name
}

// NewSDConfig returns an entry with all that is said of it; see SDConfig.
func NewSDConfig(instance string, cs Collectors) *SDConfig {
	return &SDConfig{Collectors: cs, Instance: instanceOr(instance)}
}

// UnmarshalYAML checks the collectors.
func (c *SDConfig) UnmarshalYAML(unmarshal func(any) error) error {
	type plain SDConfig
	if err := unmarshal((*plain)(c)); err != nil {
		return err
	}
	c.Instance = instanceOr(c.Instance)
	return c.Collectors.Check()
}

// SetDirectory has relative paths begin at dir, as upstream does with those of other entries.
func (c *SDConfig) SetDirectory(dir string) { c.Collectors = c.Collectors.below(dir) }

// instanceOr returns instance, or else the host's name: without one, the label would be
// Address.
func instanceOr(instance string) string {
	if instance != "" {
		return instance
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
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
