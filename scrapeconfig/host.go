package scrapeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
	"github.com/opstrace/opstrace-agent/scrapeconfig/similar"
)

// hostJob is the host: block, a scrape job of the metrics of this host.
type hostJob struct {
	Job        string                 `yaml:"job_name"`
	Instance   string                 `yaml:"instance"` // label of the target; empty: the host's name
	Collectors hostmetrics.Collectors `yaml:"collectors"`

	ScrapeInterval       model.Duration    `yaml:"scrape_interval"`
	ScrapeTimeout        model.Duration    `yaml:"scrape_timeout"`
	SampleLimit          uint              `yaml:"sample_limit"`
	RelabelConfigs       []*relabel.Config `yaml:"relabel_configs"`
	MetricRelabelConfigs []*relabel.Config `yaml:"metric_relabel_configs"`
}

// expandHost returns the job that a document stands for which holds nothing but the block,
// as one of cfg. Errors are a *fieldError or upstream's.
func expandHost(text []byte, cfg *config.Config) (*config.ScrapeConfig, error) {
	var doc struct {
		Host yaml.Node `yaml:"host"`
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if doc.Host.Kind != yaml.MappingNode {
		return nil, &fieldError{msg: "the host block must be a mapping", hint: "write `host: {}` for the metrics of this host"}
	}
	shape := struct {
		Host hostJob `yaml:"host"`
	}{hostJob{Job: "node"}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&shape); err != nil {
		return nil, err
	}
	return shape.Host.expand(cfg)
}

func (h *hostJob) expand(cfg *config.Config) (*config.ScrapeConfig, error) {
	if err := h.Collectors.Check(); err != nil {
		return nil, collectorsError(err)
	}
	for key, rules := range map[string][]*relabel.Config{"relabel_configs": h.RelabelConfigs, "metric_relabel_configs": h.MetricRelabelConfigs} {
		if slices.Contains(rules, nil) {
			return nil, &fieldError{path: []string{key}, msg: "empty relabeling rule in the host block", hint: "remove it"}
		}
	}
	if h.Job == "" {
		return nil, &fieldError{path: []string{"job_name"}, msg: "job_name is empty in the host block", hint: "remove it: the job is named node then"}
	}
	if slices.ContainsFunc(cfg.ScrapeConfigs, func(c *config.ScrapeConfig) bool { return c.JobName == h.Job }) {
		return nil, &fieldError{path: []string{"job_name"}, msg: fmt.Sprintf("the job of the host block is named %q, as one in scrape_configs is", h.Job),
			hint: "give one of them another job_name:; if that one scrapes a node_exporter on this host, the block takes its place"}
	}
	job := config.DefaultScrapeConfig
	job.JobName = h.Job
	job.ScrapeInterval, job.ScrapeTimeout, job.SampleLimit = h.ScrapeInterval, h.ScrapeTimeout, h.SampleLimit
	job.RelabelConfigs, job.MetricRelabelConfigs = h.RelabelConfigs, h.MetricRelabelConfigs
	job.EnableCompression = false // it goes from memory to memory
	job.ServiceDiscoveryConfigs = discovery.Configs{hostmetrics.NewSDConfig(h.Instance, h.Collectors)}
	return &job, job.Validate(cfg.GlobalConfig)
}

// collectorsError returns what is wrong with collectors as a *fieldError.
func collectorsError(err error) error {
	e := &fieldError{path: []string{"collectors"}, msg: err.Error(), hint: "remove it"}
	if setting, ok := errors.AsType[*hostmetrics.SettingError](err); ok {
		e.path = append(e.path, setting.Path()...)
		e.hint = setting.Hint
		if meant := similar.Word(setting.Name(), setting.Known); meant != "" {
			e.hint = "did you mean " + meant + "?"
		}
	}
	return e
}

// refuseOtherCollectors refuses jobs of this host with other collectors than another has.
func (s *source) refuseOtherCollectors(jobs []*config.ScrapeConfig) error {
	var first *config.ScrapeConfig
	var collectors hostmetrics.Collectors
	for _, job := range jobs {
		for _, sd := range job.ServiceDiscoveryConfigs {
			host, is := sd.(*hostmetrics.SDConfig)
			switch {
			case !is:
			case first == nil:
				first, collectors = job, host.Collectors
			case !collectors.Equal(host.Collectors):
				line := lastJob(s.rest, strconv.Quote(job.JobName))
				if b := s.blocks[hostKey]; line == 0 && b != nil {
					line = b.line(0, "collectors")
				}
				return s.fail(line, fmt.Sprintf("the jobs %q and %q have different collectors", first.JobName, job.JobName),
					"give all jobs of this host the same: a process has one set of them")
			}
		}
	}
	return nil
}
