package scrapeconfig

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

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
		return nil, hostFieldError(&doc.Host, err)
	}
	return shape.Host.expand(cfg)
}

// hostForms are what fields of the block must be, and how they are written.
var hostForms = map[string]struct{ kind, hint string }{
	"instance":        {"a name", "write a name, or remove it: the host's name is taken then"},
	"job_name":        {"a name", "write a name, or remove it: the job is named node then"},
	"scrape_interval": {"a duration", "write it like 30s"},
	"scrape_timeout":  {"a duration", "write it like 10s"},
	"sample_limit":    {"a number", "write it like 10000"},
}

// hostFieldError says in the block's terms what err, of decoding it, is about: the decoder's
// words name types of Go, and Prometheus' documentation has no such block. Where the field
// is upstream's, unknown, or there twice, err is returned.
func hostFieldError(host *yaml.Node, err error) error {
	path, badErr := firstBad(host, func(n *yaml.Node) error { return n.Decode(&hostJob{}) })
	if len(path) == 0 || len(find(host, path[0])) != 1 {
		return err
	}
	field := path[0]
	_, isType := errors.AsType[*yaml.TypeError](badErr)
	if field == "collectors" && !isType {
		return &fieldError{path: path, msg: badErr.Error(), hint: "write it like `collectors: {processes: true, filesystem: {mount-timeout: 5s}}`; " + hostmetrics.Manual}
	}
	form, known := hostForms[field]
	if !known {
		return err
	}
	e := &fieldError{path: []string{field}, msg: fmt.Sprintf("%s in the host block is not %s", field, form.kind), hint: form.hint}
	if value := host.Content[find(host, field)[0]+1]; value.Kind == yaml.ScalarNode {
		e.msg = fmt.Sprintf("%s in the host block: %q is not %s", field, value.Value, form.kind)
	}
	return e
}

// firstBad returns the path from n to the first value that cannot be decoded as its part, and
// why. The path is empty where all can, each by itself.
func firstBad(n *yaml.Node, decode func(*yaml.Node) error) ([]string, error) {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		only := func(v *yaml.Node) error {
			return decode(&yaml.Node{Kind: yaml.MappingNode, Tag: n.Tag, Content: []*yaml.Node{key, v}})
		}
		err := only(value)
		if err == nil {
			continue
		}
		path, deeper := firstBad(value, only)
		return append([]string{key.Value}, path...), cmp.Or(deeper, err)
	}
	return nil, nil
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
	if interval := cmp.Or(h.ScrapeInterval, cfg.GlobalConfig.ScrapeInterval); h.ScrapeTimeout > interval {
		return nil, &fieldError{path: []string{"scrape_timeout"}, msg: fmt.Sprintf("scrape_timeout in the host block is longer than the scrape interval, %s", interval),
			hint: "write " + interval.String() + " or less, or remove it: the timeout of global is taken then, as far as the interval allows"}
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
		if meant := meantName(setting.Name(), setting.Known); meant != "" {
			e.hint = "did you mean " + meant + "?"
		}
	}
	return e
}

// meantName is the known name that another was likely meant to be; empty: none.
func meantName(name string, known []string) string {
	if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) }); i >= 0 {
		return known[i]
	}
	return similar.Word(name, known)
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
