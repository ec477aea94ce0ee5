package newconfig

import (
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// targets turns those that are URLs: vmagent takes scheme, path and parameters out of
// an address, Prometheus refuses the whole file for one. Each becomes a group of its
// own, beside the others of its group and with their labels.
func (v *vmagent) targets(groups *yaml.Node, what string) {
	var all []*yaml.Node
	for _, group := range items(groups) {
		targets := value(group, "targets")
		var plain, apart []*yaml.Node
		for _, target := range items(targets) {
			own, why := asLabels(target.Value)
			switch {
			case why != "":
				v.changed = true
				v.result.leaveOut(target.Line, what+": "+shown(target.Value), why)
			case own == nil:
				plain = append(plain, target)
			default:
				v.changed = true
				v.result.note(target.Line, "%s: it is an address here, and labels for the rest of it", shown(target.Value))
				apart = append(apart, own.group(value(group, "labels")))
			}
		}
		if len(plain) < len(items(targets)) {
			targets.Content = plain
		}
		if len(plain) > 0 || len(items(targets)) == 0 && len(apart) == 0 {
			all = append(all, group)
		}
		all = append(all, apart...)
	}
	if groups.Kind == yaml.SequenceNode {
		groups.Content = all
	}
}

// address is a target that vmagent was given as a URL.
type address struct {
	host   string
	labels [][2]string // what Prometheus scrapes it by
}

// asLabels returns nil for what is an address only, and why there is no counterpart.
func asLabels(target string) (a *address, why string) {
	scheme, rest, hasScheme := strings.Cut(target, "://")
	if !hasScheme {
		scheme, rest = "", target
	}
	host, path, hasPath := strings.Cut(rest, "/")
	if !hasScheme && !hasPath {
		return nil, ""
	}
	if hasScheme && scheme != "http" && scheme != "https" {
		return nil, "targets are scraped by http and https only"
	}
	if strings.Contains(host, "@") {
		return nil, "user and password belong to a job, in basic_auth"
	}
	a = &address{host: host}
	if hasScheme {
		a.labels = append(a.labels, [2]string{"__scheme__", scheme})
	}
	if !hasPath {
		return a, ""
	}
	path, query, _ := strings.Cut(path, "?")
	a.labels = append(a.labels, [2]string{"__metrics_path__", "/" + path})
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, "its parameters cannot be read"
	}
	for name, values := range params {
		if len(values) > 1 {
			return nil, "a target has one value of each parameter: write it as a job with params"
		}
		a.labels = append(a.labels, [2]string{"__param_" + name, values[0]})
	}
	slices.SortFunc(a.labels[len(a.labels)-len(params):], func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	return a, ""
}

// shown is a target without what may be secret in it.
func shown(target string) string {
	target, _, _ = strings.Cut(target, "?")
	if i := strings.LastIndex(target, "@"); i >= 0 {
		scheme, _, _ := strings.Cut(target, "://")
		target = scheme + "://" + target[i+1:]
	}
	return target
}

// group is a group of targets with the address as the only one. What others there have
// as labels stays, where the URL says nothing else.
func (a *address) group(others *yaml.Node) *yaml.Node {
	labels := mapping()
	for _, l := range a.labels {
		labels.Content = append(labels.Content, entry(l[0], word(l[1]))...)
	}
	for key, val := range pairs(others) {
		if value(labels, key.Value) == nil {
			labels.Content = append(labels.Content, key, val)
		}
	}
	return mapping(entry("targets", list(word(a.host))), entry("labels", labels))
}
