package configcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"go.yaml.in/yaml/v3"
)

// job is a scrape job with the targets that are known without asking anybody.
type job struct {
	name    string
	targets []labels.Labels
}

// readJobs finds the targets that the configuration lists, and those in files.
func (l *look) readJobs() error {
	configs, err := l.cfg.GetScrapeConfigs()
	if err != nil {
		return err
	}
	for _, c := range configs {
		j := job{name: c.JobName}
		for _, sd := range c.ServiceDiscoveryConfigs {
			switch sd := sd.(type) {
			case discovery.StaticConfig:
				j.add(c, sd)
			case *file.SDConfig:
				j.add(c, l.readTargets(sd.Files))
			}
		}
		l.jobs = append(l.jobs, j)
	}
	return nil
}

// add takes the targets that are left after relabelling.
func (j *job) add(c *config.ScrapeConfig, groups []*targetgroup.Group) {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, g := range groups {
		targets, _ := scrape.TargetsFromGroup(g, c, nil, b) // check targets tells of the others
		for _, t := range targets {
			if ls := t.Labels(b); !ls.IsEmpty() {
				j.targets = append(j.targets, ls)
			}
		}
	}
}

// readTargets reads files of file_sd as the agent will. One that cannot be opened
// is told by the check of files.
func (l *look) readTargets(patterns []string) (all []*targetgroup.Group) {
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			groups, err := parseTargets(path, content)
			if err != nil {
				l.add(Finding{File: path, Msg: "not a list of targets: " + strings.ReplaceAll(err.Error(), "\n", " "),
					Hint: "write a list of mappings with targets: [host:port] and, if wanted, labels:", Fatal: true})
				continue
			}
			l.parse(path, content)
			all = append(all, groups...)
		}
	}
	return all
}

func parseTargets(path string, content []byte) ([]*targetgroup.Group, error) {
	var groups []*targetgroup.Group
	var err error
	if strings.EqualFold(filepath.Ext(path), ".json") {
		err = json.Unmarshal(content, &groups)
	} else if len(bytes.TrimSpace(content)) > 0 {
		dec := yaml.NewDecoder(bytes.NewReader(content))
		dec.KnownFields(true)
		err = dec.Decode(&groups)
	}
	if err != nil {
		return nil, err
	}
	for i, g := range groups {
		if g == nil {
			return nil, errors.New("an item is empty")
		}
		g.Source = fmt.Sprintf("%s:%d", path, i)
	}
	return groups, nil
}
