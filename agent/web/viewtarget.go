package web

import (
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// targetDetail explains how a target came to its labels, or why it was dropped.
type targetDetail struct {
	Gone       bool // not there any more
	Pool       string
	Row        targetRow
	Discovered []labels.Label
	Steps      []stepView
	Dropped    bool
}

// stepView is one relabelling step and what it did.
type stepView struct {
	Rule    string
	Changes []labelChange
	Drops   bool // the target ends here
	Unseen  bool // the target had been dropped before
}

// explainTarget finds a target by its ID; nil if none was asked for.
func explainTarget(set targetSet, id string, poolConfig func(string) (*config.ScrapeConfig, error)) *targetDetail {
	if id == "" {
		return nil
	}
	for health, pools := range map[scrape.TargetHealth]map[string][]*scrape.Target{"": set.active, dropped: set.dropped} {
		for pool, targets := range pools {
			for _, t := range targets {
				if targetID(pool, t) != id {
					continue
				}
				c := candidate{pool, "", health, t}
				if health == "" {
					c.health, c.url = t.Health(), redact.URL(t.URL().String())
				}
				cfg, err := poolConfig(pool)
				if err != nil { // the pool went in between
					return &targetDetail{Gone: true}
				}
				return newTargetDetail(c, cfg.RelabelConfigs)
			}
		}
	}
	return &targetDetail{Gone: true}
}

func newTargetDetail(c candidate, rules []*relabel.Config) *targetDetail {
	discovered := c.target.DiscoveredLabels(labels.NewBuilder(labels.EmptyLabels()))
	d := &targetDetail{Pool: c.pool, Row: row(c), Dropped: c.health == dropped}
	before := redact.Labels(discovered)
	before.Range(func(l labels.Label) { d.Discovered = append(d.Discovered, l) })
	gone := false
	for _, s := range traceRelabel(rules, discovered) {
		step := stepView{Rule: describeRule(s.Rule), Unseen: gone}
		if !gone && !s.Keep {
			step.Drops, gone = true, true
		}
		if s.Keep {
			step.Changes = changes(before, s.Output)
			before = s.Output
		}
		d.Steps = append(d.Steps, step)
	}
	return d
}

// describeRule writes a rule in one line, without what is default.
func describeRule(r *relabel.Config) string {
	parts := []string{string(r.Action)}
	if len(r.SourceLabels) > 0 {
		parts = append(parts, fmt.Sprintf("source_labels: %s", r.SourceLabels))
	}
	if r.Separator != relabel.DefaultRelabelConfig.Separator {
		parts = append(parts, fmt.Sprintf("separator: %q", r.Separator))
	}
	if re := r.Regex.String(); re != relabel.DefaultRelabelConfig.Regex.String() {
		parts = append(parts, "regex: "+re)
	}
	if r.Modulus != 0 {
		parts = append(parts, fmt.Sprintf("modulus: %d", r.Modulus))
	}
	if r.TargetLabel != "" {
		parts = append(parts, "target_label: "+r.TargetLabel)
	}
	if r.Replacement != relabel.DefaultRelabelConfig.Replacement {
		parts = append(parts, fmt.Sprintf("replacement: %q", r.Replacement))
	}
	return strings.Join(parts, " · ")
}
