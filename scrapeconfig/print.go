package scrapeconfig

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"
)

const redacted = "<secret>"

// Print returns cfg as YAML without its secrets. Beyond what upstream redacts
// (the fields made for secrets), it hides where secrets end up all the same:
// values of headers, OAuth2 endpoint parameters and scrape parameters named
// like a secret, and in every URL the user info and the query's values.
func Print(cfg *config.Config) (string, error) {
	doc := &yaml.Node{}
	if err := yaml.Unmarshal([]byte(cfg.String()), doc); err != nil {
		return "", fmt.Errorf("cannot print the configuration: %w", err)
	}
	redact(doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return "", fmt.Errorf("cannot print the configuration: %w", err)
	}
	return out.String(), nil
}

var secretParam = regexp.MustCompile(`(?i)auth|key|pass|secret|token|credential|signature`)

// redact hides secrets at and below n.
func redact(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		n.Value = redactURL(n.Value)
	}
	if n.Kind != yaml.MappingNode {
		for _, c := range n.Content {
			redact(c)
		}
		return
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		switch key {
		case "headers", "endpoint_params":
			hide(value)
		case "http_headers":
			for j := 1; j < len(value.Content); j += 2 {
				for _, k := range find(value.Content[j], "values") {
					hide(value.Content[j].Content[k+1])
				}
			}
		case "params":
			for j := 0; j+1 < len(value.Content); j += 2 {
				if secretParam.MatchString(value.Content[j].Value) {
					hide(value.Content[j+1])
				}
			}
		}
		redact(value)
	}
}

// hide replaces the values at and below n, keeping the keys.
func hide(n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		n.Value, n.Tag, n.Style = redacted, "!!str", 0
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

var (
	userInfo   = regexp.MustCompile(`(://)[^/?#\s]*@`)
	queryValue = regexp.MustCompile(`([?&][^=&#\s]*=)[^&#\s]*`)
)

// redactURL hides the user info and the query's values, if s is a URL.
func redactURL(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	s = userInfo.ReplaceAllString(s, "${1}xxxxx@")
	return queryValue.ReplaceAllString(s, "${1}xxxxx")
}
