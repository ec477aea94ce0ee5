package newconfig

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What vmagent has beside Prometheus' fields and an agent has not, each with the
// reason.
var (
	vmagentGlobal = map[string]string{
		"relabel_configs":        "Prometheus has no such rules for all jobs: write them into each one",
		"metric_relabel_configs": "Prometheus has no such rules for all jobs: write them into each one",
		"relabel_debug":          "the status page shows what each rule makes of a target",
		"metric_relabel_debug":   "'opstrace-agent check targets' tells what metric_relabel_configs drop",
		"series_limit":           "--limits.max-series bounds the series of all targets",
	}
	vmagentJob = map[string]string{
		"stream_parse":          "answers are always read as a whole, within --limits.body-size",
		"relabel_debug":         "the status page shows what each rule makes of a target",
		"metric_relabel_debug":  "'opstrace-agent check targets' tells what metric_relabel_configs drop",
		"disable_keepalive":     "connections to targets are kept open",
		"scrape_align_interval": "scrapes are spread over the interval by themselves",
		"scrape_offset":         "scrapes are spread over the interval by themselves",
		"series_limit":          "--limits.max-series bounds the series of all targets, sample_limit those of one",
		"no_stale_markers":      "the end of a series is always marked",
		"proxy_authorization":   "only proxy_url and proxy_connect_header are known for a proxy",
		"proxy_basic_auth":      "only proxy_url and proxy_connect_header are known for a proxy",
		"proxy_bearer_token":    "only proxy_url and proxy_connect_header are known for a proxy",
		"proxy_headers":         "only proxy_url and proxy_connect_header are known for a proxy",
		"proxy_oauth2":          "only proxy_url and proxy_connect_header are known for a proxy",
		"proxy_tls_config":      "only proxy_url and proxy_connect_header are known for a proxy",

		"proxy_bearer_token_file": "only proxy_url and proxy_connect_header are known for a proxy",
		"yandexcloud_sd_configs":  "only vmagent has this discovery",
	}
)

// vmagent turns a configuration of vmagent into one of Prometheus, in its nodes.
type vmagent struct {
	result  *Result
	changed bool
}

// fromVmagent reports whether it found anything that only vmagent has.
func fromVmagent(root *yaml.Node, r *Result) bool {
	v := &vmagent{result: r}
	v.cut(value(root, "global"), "global.", vmagentGlobal)
	for _, job := range items(value(root, "scrape_configs")) {
		v.job(job)
	}
	if v.changed {
		v.cut(root, "", map[string]string{"scrape_config_files": "vmagent's have a list in them: put a line scrape_configs: above it, and name the files here again"})
		walk(root, func(n *yaml.Node) {
			if n.Kind == yaml.ScalarNode && strings.Contains(n.Value, "%{") {
				r.note(n.Line, "%s: vmagent takes %%{NAME} from the environment, this agent does not", n.Value)
			}
		})
	}
	return v.changed
}

// cut takes keys out of a mapping.
func (v *vmagent) cut(n *yaml.Node, what string, reasons map[string]string) {
	var kept []*yaml.Node
	for key, val := range pairs(n) {
		why, unwanted := reasons[key.Value]
		if !unwanted {
			kept = append(kept, key, val)
			continue
		}
		v.changed = true
		v.result.leaveOut(key.Line, what+key.Value, why)
	}
	if n != nil && n.Kind == yaml.MappingNode {
		n.Content = kept
	}
}

func (v *vmagent) job(n *yaml.Node) {
	name := "a job without a name: "
	if job := value(n, "job_name"); job != nil {
		name = "job " + job.Value + ": "
	}
	v.cut(n, name, vmagentJob)
	for key, val := range pairs(n) {
		switch key.Value {
		case "disable_compression":
			v.rename(key, "enable_compression")
			val.Value = fmt.Sprint(val.Value != "true")
		case "max_scrape_size":
			v.rename(key, "body_size_limit")
			v.size(val, name)
		case "headers":
			v.headers(key, val, name)
		case "relabel_configs", "metric_relabel_configs":
			v.rules(val, name+key.Value)
		case "static_configs":
			v.targets(val, name+key.Value)
		}
	}
}

// size makes a size the same number of bytes here: MB are a million of them there, and
// MiB here.
func (v *vmagent) size(val *yaml.Node, name string) {
	was := val.Value
	if strings.Trim(was, "0123456789") == "" {
		val.SetString(was + "B")
		return
	}
	for power, unit := range []string{"KB", "MB", "GB", "TB"} {
		digits, ok := strings.CutSuffix(was, unit)
		n, err := strconv.ParseFloat(digits, 64)
		if !ok || err != nil {
			continue
		}
		val.SetString(strconv.FormatFloat(n*math.Pow(1000, float64(power+1)), 'f', 0, 64) + "B")
		v.result.note(val.Line, "%s%s is %s in vmagent, and written so: here it would be %siB", name, was, val.Value, strings.TrimSuffix(was, "B"))
	}
}

func (v *vmagent) rename(key *yaml.Node, name string) {
	v.changed = true
	v.result.note(key.Line, "%s is called %s here", key.Value, name)
	key.Value = name
}

// headers makes Prometheus' mapping of vmagent's list of "name: value".
func (v *vmagent) headers(key, val *yaml.Node, name string) {
	v.rename(key, "http_headers")
	all := mapping()
	for _, item := range items(val) {
		header, text, found := strings.Cut(item.Value, ":")
		if !found {
			v.result.leaveOut(item.Line, name+"headers", "it has no colon")
			continue
		}
		values := list(word(strings.TrimSpace(text)))
		all.Content = append(all.Content, entry(strings.TrimSpace(header), mapping(entry("values", values)))...)
	}
	*val = *all
}

// rules turns those of a list; one that cannot be is left out whole: without a
// condition it would do what it must not.
func (v *vmagent) rules(rules *yaml.Node, what string) {
	var kept []*yaml.Node
	for _, rule := range items(rules) {
		if why := v.rule(rule); why != "" {
			v.changed = true
			v.result.leaveOut(rule.Line, what, why)
			continue
		}
		kept = append(kept, rule)
	}
	if rules.Kind == yaml.SequenceNode {
		rules.Content = kept
	}
}

// rule returns why it cannot be turned.
func (v *vmagent) rule(n *yaml.Node) (why string) {
	if value(n, "if") != nil {
		return "only vmagent has rules with if: write this one with source_labels and regex"
	}
	if regex := value(n, "regex"); regex != nil && regex.Kind == yaml.SequenceNode {
		var words []string
		for _, item := range regex.Content {
			words = append(words, item.Value)
		}
		line := regex.Line
		*regex = *word(strings.Join(words, "|"))
		regex.Line = line
		v.changed = true
	}
	action := value(n, "action")
	if action == nil {
		return ""
	}
	sources := items(value(n, "source_labels"))
	switch action.Value {
	case "keep_metrics", "drop_metrics":
		v.changed = true
		action.Value = strings.TrimSuffix(action.Value, "_metrics")
		n.Content = append(n.Content, entry("source_labels", list(word("__name__")))...)
	case "keep_if_equal", "drop_if_equal":
		if len(sources) != 2 {
			return "Prometheus compares two labels only, with keepequal and dropequal"
		}
		v.changed = true
		action.Value = strings.Replace(action.Value, "_if_", "", 1)
		target := sources[1]
		value(n, "source_labels").Content = sources[:1]
		n.Content = append(n.Content, entry("target_label", target)...)
	case "keep_if_contains", "drop_if_contains", "replace_all", "labelmap_all", "graphite":
		return "only vmagent has the action " + action.Value
	}
	return ""
}
