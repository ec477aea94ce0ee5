package newconfig

import (
	"fmt"
	"net"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// hostSection makes the metrics of this host a job.
	hostSection = "# This host, under the names of node_exporter: by the agent itself, without a port.\nhost: {}\n"
	nodeJob     = "node" // its job's name
	nodePort    = "9100" // node_exporter's
)

// hostSection is what a configuration gets for this host: nothing where a job of its own
// scrapes a node_exporter here.
func (c *conversion) hostSection(t *text, hostname string) string {
	if value(t.root, "host") != nil {
		return ""
	}
	section := hostSection
	for _, job := range items(value(t.root, "scrape_configs")) {
		name := ""
		if n := value(job, "job_name"); n != nil {
			name = n.Value
		}
		if target := ownNode(job, hostname); target != "" {
			c.result.Notes = append(c.result.Notes, fmt.Sprintf("job %s scrapes the node_exporter of this host, %s: a section `host: {}` in its place needs no second program", name, target))
			return ""
		}
		if name == nodeJob {
			section = strings.Replace(hostSection, "{}", "{job_name: host}", 1)
		}
	}
	return section
}

// ownNode returns the target of a job that is the node_exporter of this host, empty if none
// is.
func ownNode(job *yaml.Node, hostname string) (target string) {
	walk(job, func(n *yaml.Node) {
		host, port, err := net.SplitHostPort(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || port != nodePort {
			return
		}
		ip := net.ParseIP(host)
		if host == "localhost" || ip != nil && ip.IsLoopback() || hostname != "" && host == hostname {
			target = n.Value
		}
	})
	return target
}
