package newconfig

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The parts of Grafana Agent's static mode that an agent has no use for, each with the
// reason.
const (
	metricsOnly = "this agent delivers metrics only"
	ownCluster  = "an agent has its targets from its own file"
	walReason   = "what is not delivered stays on disk, within --storage.backlog.max-bytes"
	noInstances = "there are no instances here, which could fail or share"
	noExporters = "this agent runs no exporters"
	filterHosts = "an agent scrapes all that a job's discovery finds: keep the targets of this host by relabel_configs"
)

var grafanaSections = map[string]string{
	"server": "address and log are flags here: --web.listen-address, --web.config.file, --log.level, --log.format",
	"logs":   metricsOnly, "loki": metricsOnly, "traces": metricsOnly, "tempo": metricsOnly,
	"agent_management": ownCluster,
}

var grafanaMetrics = map[string]string{
	"wal_directory":   "the directory is a flag here: --storage.agent.path",
	"wal_cleanup_age": walReason, "wal_cleanup_period": walReason,
	"scraping_service": ownCluster, "scraping_service_client": ownCluster,
	"instance_restart_backoff": noInstances, "instance_mode": noInstances,
	"http_disable_keepalives": "connections to targets are kept open, and closed when they are idle",
	"http_idle_conn_timeout":  "connections to targets are closed after five idle minutes",
}

var grafanaInstance = map[string]string{
	"host_filter": filterHosts, "host_filter_relabel_configs": filterHosts,
	"wal_truncate_frequency": walReason, "min_wal_time": walReason, "max_wal_time": walReason,
	"remote_flush_deadline":   "a stop need not wait for an endpoint: what is unsent stays on disk",
	"write_stale_on_shutdown": "no series ends with a stop: it goes on at the next start",
}

var grafanaIntegrations = map[string]string{
	"metrics": noExporters, "scrape_integrations": noExporters, "replace_instance_label": noExporters,
	"use_hostname_label": noExporters, "integration_restart_backoff": noExporters,
	"prometheus_remote_write": noExporters + "; if their samples are to go there, write it as remote_write",
	"agent":                   "the agent scrapes itself, by the job " + selfName,
	"node_exporter":           "the section host stands for it: collectors and filters go there; its job was called integrations/node_exporter",
}

// exporters are what to install instead of an integration, and where it listens.
var exporters = map[string]struct {
	program string
	port    int
}{
	"process_exporter":       {"prometheus-process-exporter", 9256},
	"windows_exporter":       {"windows_exporter", 9182},
	"cadvisor":               {"cadvisor", 8080},
	"mysqld_exporter":        {"prometheus-mysqld-exporter", 9104},
	"postgres_exporter":      {"prometheus-postgres-exporter", 9187},
	"redis_exporter":         {"prometheus-redis-exporter", 9121},
	"memcached_exporter":     {"prometheus-memcached-exporter", 9150},
	"mongodb_exporter":       {"prometheus-mongodb-exporter", 9216},
	"elasticsearch_exporter": {"prometheus-elasticsearch-exporter", 9114},
	"kafka_exporter":         {"kafka_exporter", 9308},
	"apache_http":            {"prometheus-apache-exporter", 9117},
	"squid_exporter":         {"prometheus-squid-exporter", 9301},
	"dnsmasq_exporter":       {"dnsmasq_exporter", 9153},
	"consul_exporter":        {"consul_exporter", 9107},
	"statsd_exporter":        {"prometheus-statsd-exporter", 9102},
	"blackbox":               {"prometheus-blackbox-exporter", 9115},
	"snmp":                   {"prometheus-snmp-exporter", 9116},
	"github_exporter":        {"github-exporter", 9171},
	"gcp_exporter":           {"stackdriver_exporter", 9255},
	"cloudwatch_exporter":    {"yet-another-cloudwatch-exporter", 5000},
	"oracledb":               {"oracledb_exporter", 9161},
	"mssql":                  {"sql_exporter", 9399},
}

// isGrafana reports whether a file is one of Grafana Agent's static mode, in which
// metrics was called prometheus before version 0.24.
func isGrafana(root *yaml.Node) bool {
	for _, name := range []string{"metrics", "prometheus", "integrations"} {
		if section := value(root, name); section != nil && section.Kind == yaml.MappingNode {
			return value(root, "scrape_configs") == nil
		}
	}
	return false
}

// grafana is a configuration of Grafana Agent, taken apart.
type grafana struct {
	result       *Result
	global       *yaml.Node
	globalWrites *yaml.Node // nil: none
	jobs         []*yaml.Node
	jobNames     map[string]bool
	instances    []instance
}

// instance is one of metrics.configs.
type instance struct {
	name   string
	line   int
	writes *yaml.Node // its own; nil: the global ones
}

func fromGrafana(root *yaml.Node, r *Result) *yaml.Node {
	g := &grafana{result: r, global: mapping(), jobNames: map[string]bool{}}
	for key, val := range pairs(root) {
		switch key.Value {
		case "metrics", "prometheus":
			g.metrics(key.Value, val)
		case "integrations":
			g.integrations(val)
		default:
			r.leaveOut(key.Line, key.Value, reason(grafanaSections, key.Value))
		}
	}
	out := mapping()
	if len(g.global.Content) > 0 {
		out.Content = append(out.Content, entry("global", g.global)...)
	}
	if len(g.jobs) > 0 {
		out.Content = append(out.Content, entry("scrape_configs", list(g.jobs...))...)
	}
	if writes := g.destinations(); len(writes) > 0 {
		out.Content = append(out.Content, entry("remote_write", list(writes...))...)
	}
	return out
}

func reason(reasons map[string]string, key string) string {
	if why, known := reasons[key]; known {
		return why
	}
	return "an agent has nothing of the kind"
}

func (g *grafana) metrics(section string, val *yaml.Node) {
	for key, val := range pairs(val) {
		switch key.Value {
		case "global":
			g.setGlobal(val)
		case "configs":
			for _, item := range items(val) {
				g.instance(section+".configs: ", item)
			}
		default:
			g.result.leaveOut(key.Line, section+"."+key.Value, reason(grafanaMetrics, key.Value))
		}
	}
}

func (g *grafana) setGlobal(val *yaml.Node) {
	for key, val := range pairs(val) {
		if key.Value == "remote_write" {
			g.globalWrites = val
			continue
		}
		g.global.Content = append(g.global.Content, key, val)
	}
}

func (g *grafana) instance(section string, n *yaml.Node) {
	in := instance{line: n.Line}
	if name := value(n, "name"); name != nil {
		in.name = name.Value
	}
	for key, val := range pairs(n) {
		switch key.Value {
		case "name":
		case "scrape_configs":
			for _, job := range items(val) {
				g.job(in.name, job)
			}
		case "remote_write":
			if len(items(val)) > 0 {
				in.writes = val
			}
		default:
			if key.Value == "host_filter" && val.Value == "false" {
				continue // as it is here
			}
			g.result.leaveOut(key.Line, section+key.Value, reason(grafanaInstance, key.Value))
		}
	}
	g.instances = append(g.instances, in)
}

// job adds one. Two instances may have jobs of the same name, which become one of
// another name whose series are labelled as before.
func (g *grafana) job(instance string, n *yaml.Node) {
	g.jobs = append(g.jobs, n)
	name := value(n, "job_name")
	if name == nil {
		return
	}
	old := name.Value
	if g.jobNames[old] {
		name.Value = instance + "/" + old
		keep := mapping(entry("target_label", word("job")), entry("replacement", word(strings.ReplaceAll(old, "$", "$$"))))
		if rules := value(n, "relabel_configs"); rules != nil && rules.Kind == yaml.SequenceNode {
			rules.Content = append([]*yaml.Node{keep}, rules.Content...)
		} else {
			n.Content = append(n.Content, entry("relabel_configs", list(keep))...)
		}
		g.result.note(n.Line, "job %s is there already: this one is called %s, and its label job stays", old, name.Value)
	}
	g.jobNames[name.Value] = true
}

// destinations are the entries of remote_write of all instances, each once.
func (g *grafana) destinations() (entries []*yaml.Node) {
	seen := map[string]bool{}
	lists := map[string]bool{}
	add := func(writes *yaml.Node) {
		whole := ""
		for _, rw := range items(writes) {
			text, err := encode(rw)
			if whole += string(text); err != nil || !seen[string(text)] {
				entries = append(entries, rw)
			}
			seen[string(text)] = true
		}
		lists[whole] = true
	}
	inherits := len(g.instances) == 0
	for _, in := range g.instances {
		inherits = inherits || in.writes == nil
	}
	switch {
	case inherits:
		add(g.globalWrites)
	case g.globalWrites != nil:
		g.result.leaveOut(g.globalWrites.Line, "metrics.global.remote_write", "every instance has its own")
	}
	for _, in := range g.instances {
		if in.writes != nil {
			add(in.writes)
		}
	}
	g.tellOfDestinations(len(lists) > 1, entries)
	return entries
}

// tellOfDestinations notes what is not as it was.
func (g *grafana) tellOfDestinations(differ bool, entries []*yaml.Node) {
	for _, in := range g.instances {
		if differ && in.writes != nil {
			g.result.note(in.writes.Line, "instance %s sent to these alone: here all jobs go to all destinations; write_relabel_configs can choose by the label job", in.name)
		}
	}
	if len(g.instances) > 1 {
		g.result.note(g.instances[0].line, "%d instances have become one, with one storage", len(g.instances))
	}
	for _, rw := range entries {
		if value(rw, "send_exemplars") == nil {
			g.result.note(rw.Line, "Grafana Agent sends exemplars by default, this one with send_exemplars: true")
			break
		}
	}
}

func (g *grafana) integrations(section *yaml.Node) {
	for key, val := range pairs(section) {
		name := strings.TrimSuffix(key.Value, "_configs")
		why := grafanaIntegrations[key.Value]
		exporter, known := exporters[name]
		if !known {
			exporter, known = exporters[name+"_exporter"]
		}
		switch enabled := value(val, "enabled"); {
		case enabled != nil && enabled.Value == "false":
			why = "it was not enabled"
		case why != "":
		case known:
			why = fmt.Sprintf("%s: install %s, and scrape 127.0.0.1:%d in a job named integrations/%s, as it was called", noExporters, exporter.program, exporter.port, name)
		default:
			why = noExporters + ": install one for it, and add a job that scrapes it"
		}
		g.result.leaveOut(key.Line, "integrations."+key.Value, why)
	}
}
