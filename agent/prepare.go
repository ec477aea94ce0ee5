package agent

import (
	"fmt"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// prepared is a configuration of which everything that can fail has been tried.
type prepared struct {
	cfg       *config.Config
	delivery  *delivery.Prepared
	discovery map[string]discovery.Configs
	stopped   []StoppedJob // not in discovery
	missing   []MissingLog
}

// refuse returns an error when a job or a log would have to be left out, or a
// destination to wait for a file, which is right at a start only.
func (p *prepared) refuse() error {
	if err := p.delivery.Unusable(); err != nil {
		return err
	}
	switch {
	case len(p.stopped) > 0:
		return fmt.Errorf("scrape_config %q: %s", p.stopped[0].Job, p.stopped[0].Err)
	case len(p.missing) > 0:
		return fmt.Errorf("scrape_failure_log_file %q: %s", p.missing[0].File, p.missing[0].Err)
	}
	return nil
}

// prepare builds what cfg asks for and keeps what can be kept. Upstream builds
// scrape clients in the background and only logs when that fails: they are
// built once here, so that it is known which jobs lack a certificate.
func prepare(cfg *config.Config) (*prepared, error) {
	p := &prepared{cfg: cfg, discovery: map[string]discovery.Configs{}}
	var err error
	if p.delivery, err = delivery.Prepare(cfg); err != nil {
		return nil, err
	}
	scrapes, err := cfg.GetScrapeConfigs()
	if err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	for _, s := range scrapes {
		client, err := config_util.NewClientFromConfig(s.HTTPClientConfig, s.JobName)
		if err != nil {
			p.stopped = append(p.stopped, StoppedJob{s.JobName, err.Error()})
			continue
		}
		client.CloseIdleConnections()
		p.discovery[s.JobName] = s.ServiceDiscoveryConfigs
	}
	p.missing = missingLogs(scrapes)
	return p, nil
}
