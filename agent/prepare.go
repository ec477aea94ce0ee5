package agent

import (
	"cmp"
	"fmt"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/http"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/regular"
)

// prepared is a configuration of which everything that can fail has been tried.
type prepared struct {
	cfg       *config.Config
	delivery  *delivery.Prepared
	scrapes   []*config.ScrapeConfig // those of scrape_config_files as well
	scraping  *config.Config         // what upstream's scrape manager gets
	discovery map[string]discovery.Configs
	fixed     targetSets   // of the jobs that discover nothing
	stopped   []StoppedJob // in neither of them
	missing   []MissingLog
	untraced  error // why tracing cannot be begun
}

// refuse returns an error when a job, a log or the traces would have to be left out, or
// a destination to wait for a file, which is right at a start only.
func (p *prepared) refuse() error {
	if err := cmp.Or(p.delivery.Unusable(), p.untraced); err != nil {
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
	p := &prepared{cfg: cfg, untraced: tryTracing(cfg)}
	var err error
	if p.delivery, err = delivery.Prepare(cfg); err != nil {
		return nil, err
	}
	if err := regular.CheckMatches(cfg.ScrapeConfigFiles); err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	if p.scrapes, err = cfg.GetScrapeConfigs(); err != nil {
		return nil, fmt.Errorf("scrape configuration: %w", err)
	}
	discoveries := map[string]discovery.Configs{}
	for _, s := range p.scrapes {
		if err := tryClients(s); err != nil {
			p.stopped = append(p.stopped, StoppedJob{s.JobName, err.Error()})
			continue
		}
		discoveries[s.JobName] = forDiscovery(s.ServiceDiscoveryConfigs)
	}
	p.fixed, p.discovery = splitFixed(discoveries)
	p.scraping = forScraping(cfg, p.scrapes)
	p.missing = missingLogs(p.scrapes)
	return p, nil
}

// tryClients builds the clients that a job scrapes with and asks HTTP discoveries with.
// Without the latter, upstream would leave the job without targets for good.
func tryClients(s *config.ScrapeConfig) error {
	clients := []config_util.HTTPClientConfig{s.HTTPClientConfig}
	for _, sd := range s.ServiceDiscoveryConfigs {
		if c, ok := sd.(*http.SDConfig); ok {
			clients = append(clients, c.HTTPClientConfig)
		}
	}
	for _, c := range clients {
		if err := regular.CheckClient(c); err != nil {
			return err
		}
		client, err := config_util.NewClientFromConfig(c, s.JobName)
		if err != nil {
			return err
		}
		client.CloseIdleConnections()
	}
	return nil
}
