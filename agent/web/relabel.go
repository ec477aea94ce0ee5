package web

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

type relabelStepsResponse struct {
	Steps []relabelStep `json:"steps"`
}

type relabelStep struct {
	Rule   *relabel.Config `json:"rule"`
	Output labels.Labels   `json:"output"` // empty once the target is dropped
	Keep   bool            `json:"keep"`
}

// relabelSteps answers /api/v1/targets/relabel_steps?scrapePool=NAME&labels=JSON,
// the labels being those before relabelling.
func (s *Server) relabelSteps(r *http.Request) (any, *apiError) {
	pool := r.FormValue("scrapePool")
	if pool == "" {
		return nil, badData("no scrapePool parameter provided")
	}
	labelsJSON := r.FormValue("labels")
	if labelsJSON == "" {
		return nil, badData("no labels parameter provided")
	}
	var discovered labels.Labels
	if err := json.Unmarshal([]byte(labelsJSON), &discovered); err != nil {
		return nil, badData("error parsing labels: " + err.Error())
	}
	manager := s.opts.Agent.ScrapeManager()
	if manager == nil {
		return nil, errNotReady
	}
	cfg, err := manager.ScrapePoolConfig(pool)
	if err != nil {
		return nil, badData("error retrieving scrape config: " + err.Error())
	}
	return relabelStepsResponse{traceRelabel(cfg.RelabelConfigs, discovered)}, nil
}

// traceRelabel applies rules one by one, as a scrape pool does.
func traceRelabel(rules []*relabel.Config, discovered labels.Labels) []relabelStep {
	steps := make([]relabelStep, len(rules))
	b := labels.NewBuilder(discovered)
	keep := true
	for i, rule := range rules {
		if keep {
			keep = relabel.ProcessBuilder(b, rule)
		}
		out := labels.EmptyLabels()
		if keep {
			out = redact.Labels(b.Labels())
		}
		steps[i] = relabelStep{redactRule(rule), out, keep}
	}
	return steps
}

// redactRule hides a secret URL parameter that a rule sets.
func redactRule(rule *relabel.Config) *relabel.Config {
	param, ok := strings.CutPrefix(rule.TargetLabel, model.ParamLabelPrefix)
	if !ok || !redact.Secret(param) || rule.Replacement == relabel.DefaultRelabelConfig.Replacement {
		return rule
	}
	hidden := *rule
	hidden.Replacement = redact.Hidden
	return &hidden
}

// labelChange is what one step did to one label.
type labelChange struct {
	Name, From, To string
	Kind           string // added, removed or changed
}

// changes between two label sets, in the order of the names.
func changes(from, to labels.Labels) (list []labelChange) {
	from.Range(func(l labels.Label) {
		switch now := to.Get(l.Name); now {
		case l.Value:
		case "":
			list = append(list, labelChange{l.Name, l.Value, "", "removed"})
		default:
			list = append(list, labelChange{l.Name, l.Value, now, "changed"})
		}
	})
	to.Range(func(l labels.Label) {
		if !from.Has(l.Name) {
			list = append(list, labelChange{l.Name, "", l.Value, "added"})
		}
	})
	return list
}
