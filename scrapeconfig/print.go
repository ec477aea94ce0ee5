package scrapeconfig

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// Print returns cfg as YAML without its secrets. Beyond what upstream redacts
// (the fields made for secrets), it hides where secrets end up all the same:
// values of headers, OAuth2 endpoint parameters, scrape parameters named like a
// secret (and the labels and relabelling rules that set one), and in every URL
// the user info and the query's values.
func Print(cfg *config.Config) (string, error) {
	doc := &yaml.Node{}
	if err := yaml.Unmarshal([]byte(cfg.String()), doc); err != nil {
		return "", fmt.Errorf("cannot print the configuration: %w", err)
	}
	hideSecrets(doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return "", fmt.Errorf("cannot print the configuration: %w", err)
	}
	return out.String(), nil
}

// hideSecrets at and below n.
func hideSecrets(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		n.Value = redact.Text(n.Value)
	}
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			hideSecrets(c)
		}
		return
	}
	setsSecret := slices.ContainsFunc(find(n, "target_label"), func(i int) bool { return isSecretParam(n.Content[i+1].Value) })
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		switch key {
		case "headers", "endpoint_params":
			hide(value)
		case "replacement":
			if setsSecret && value.Value != relabel.DefaultRelabelConfig.Replacement {
				hide(value)
			}
		case "http_headers":
			for j := 1; j < len(value.Content); j += 2 {
				for _, k := range find(value.Content[j], "values") {
					hide(value.Content[j].Content[k+1])
				}
			}
		case "params":
			for j := 0; j+1 < len(value.Content); j += 2 {
				if redact.Secret(value.Content[j].Value) {
					hide(value.Content[j+1])
				}
			}
		default:
			if isSecretParam(key) { // among the labels of targets
				hide(value)
			}
		}
		hideSecrets(value)
	}
}

// isSecretParam reports whether a label becomes a URL parameter that is named
// like a secret.
func isSecretParam(label string) bool {
	param, ok := strings.CutPrefix(label, model.ParamLabelPrefix)
	return ok && redact.Secret(param)
}

// hide replaces the values at and below n, keeping the keys.
func hide(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		n.Value, n.Tag, n.Style = redact.Hidden, "!!str", 0
	case yaml.SequenceNode:
		for _, c := range n.Content {
			hide(c)
		}
	case yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			hide(n.Content[i])
		}
	}
}
