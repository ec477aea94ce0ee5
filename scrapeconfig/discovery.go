package scrapeconfig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/discovery"
)

// fullBuild is the name of the build that has all of upstream's discoveries.
const fullBuild = "opstrace-agent-full"

// discoveries are all that upstream v0.315.0 has, whatever the build tags; a
// test holds the list against upstream's source.
var discoveries = []string{
	"aws", "azure", "consul", "digitalocean", "dns", "docker", "dockerswarm", "ec2", "ecs", "elasticache",
	"eureka", "file", "gce", "hetzner", "http", "ionos", "kubernetes", "kuma", "lightsail", "linode",
	"marathon", "msk", "nerve", "nomad", "oci", "openstack", "outscale", "ovhcloud", "puppetdb", "rds",
	"scaleway", "serverset", "stackit", "triton", "uyuni", "vultr",
}

// missingDiscovery explains an unknown field of type typ that is a discovery
// left out of this build. It returns "" for any other field.
func missingDiscovery(field, typ string) (msg, hint string) {
	name, ok := strings.CutSuffix(field, "_sd_configs")
	if !ok || !slices.Contains(discoveries, name) {
		return "", ""
	}
	if typ == "config.AlertmanagerConfig" {
		return "field alerting is not allowed in agent mode", "an agent sends no alerts; `opstrace-agent init --from FILE` writes a copy without the sections of a server"
	}
	return fmt.Sprintf("%s: this build has no %s discovery, only %s", field, name, strings.Join(discovery.RegisteredConfigNames(), ", ")),
		"use the full build, " + fullBuild + ", which has all discoveries of Prometheus"
}
