package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/scrapeconfig/similar"
)

// features are Prometheus' experimental features that an agent has.
var features = map[string]func(*agent.Features){
	"metadata-wal-records": func(f *agent.Features) { f.MetadataWALRecords = true },
	"type-and-unit-labels": func(f *agent.Features) { f.TypeAndUnitLabels = true },
	"st-synthesis":         func(f *agent.Features) { f.STSynthesis = true },
	"openmetrics2":         func(f *agent.Features) { f.OpenMetrics2 = true },
	"zstd-scrape":          func(f *agent.Features) { f.ZstdScrape = true },

	"otlp-deltatocumulative":      func(f *agent.Features) { f.OTLPDeltaToCumulative = true },
	"otlp-native-delta-ingestion": func(f *agent.Features) { f.OTLPNativeDelta = true },
	"st-storage": func(f *agent.Features) {
		f.STStorage = true
		// Start timestamps come with the protobuf format only. Upstream has no
		// other way to change what an absent scrape_protocols means.
		config.DefaultConfig.GlobalConfig.ScrapeProtocols = config.DefaultProtoFirstScrapeProtocols
		config.DefaultGlobalConfig.ScrapeProtocols = config.DefaultProtoFirstScrapeProtocols
	},
	"extra-scrape-metrics": func(*agent.Features) {
		enabled := true
		config.DefaultConfig.GlobalConfig.ExtraScrapeMetrics = &enabled
		config.DefaultGlobalConfig.ExtraScrapeMetrics = &enabled
	},
}

const autoReloadFeature = "auto-reload-config"

// ignoredFeatures are accepted, each with the reason why it does nothing.
var ignoredFeatures = map[string]string{
	"agent":                         "this program is always an agent",
	"auto-gomaxprocs":               "it is on by default",
	"auto-gomemlimit":               "it is on by default",
	"exemplar-storage":              "exemplars are always delivered where the destination has send_exemplars",
	"expand-external-labels":        "external labels are always expanded",
	"native-histograms":             "set scrape_native_histograms in the configuration file",
	"new-service-discovery-manager": "it is the only one",
	"no-default-scrape-port":        "a port is never added",
	"utf8-names":                    "UTF-8 names are always allowed",
}

// flagFeatures have a flag each in Prometheus as well as here.
var flagFeatures = map[string]string{
	"otlp-write-receiver":   "web.enable-otlp-receiver",
	"remote-write-receiver": "web.enable-remote-write-receiver",
}

// serverFeatures concern what an agent does not have.
var serverFeatures = []string{
	"concurrent-rule-eval", "delayed-compaction", "fast-startup", "histograms-st-encoding",
	"memory-snapshot-on-shutdown", "old-ui", "ooo-native-histograms", "promql-at-modifier", "promql-binop-fill-modifiers",
	"promql-delayed-name-removal", "promql-duration-expr", "promql-experimental-functions",
	"promql-extended-range-selectors", "promql-negative-offset", "promql-per-step-stats",
	"promql-unquoted-utf8-names", "query-cost", "search-api", "use-start-timestamps", "use-uncached-io", "xor2-encoding",
}

func featureNames() []string {
	return slices.Sorted(maps.Keys(features))
}

// parseFeatures takes the values of --enable-feature. It returns notices for
// names that do nothing.
func (f *runFlags) parseFeatures() (agent.Features, error) {
	var enabled agent.Features
	for _, list := range f.features {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if enable, ok := features[name]; ok {
				enable(&enabled)
				continue
			}
			if reason, ok := ignoredFeatures[name]; ok {
				f.notices = append(f.notices, fmt.Sprintf("--enable-feature=%s does nothing here: %s", name, reason))
				continue
			}
			if name == autoReloadFeature {
				f.autoReload = true
				f.notices = append(f.notices, "--enable-feature=auto-reload-config is deprecated: use --config.auto-reload")
				continue
			}
			return enabled, refuseFeature(name)
		}
	}
	if enabled.OTLPDeltaToCumulative && enabled.OTLPNativeDelta {
		return enabled, &usageError{"features otlp-deltatocumulative and otlp-native-delta-ingestion exclude each other", "leave one of them out"}
	}
	return enabled, nil
}

func refuseFeature(name string) error {
	switch {
	case name == "created-timestamp-zero-ingestion":
		return &usageError{
			"feature \"created-timestamp-zero-ingestion\" is not supported: after every restart it would send one old zero sample per counter, which the endpoint refuses as out of order",
			"use st-storage, which sends start timestamps by remote write 2.0",
		}
	case flagFeatures[name] != "":
		return &usageError{fmt.Sprintf("feature %q is a flag of its own", name), fmt.Sprintf("give --%s in its place", flagFeatures[name])}
	case slices.Contains(serverFeatures, name):
		return &usageError{fmt.Sprintf("feature %q belongs to a Prometheus server", name), "remove it: an agent neither queries nor evaluates rules"}
	default:
		if meant := similar.Word(name, featureNames()); meant != "" {
			return &usageError{fmt.Sprintf("unknown feature %q", name), fmt.Sprintf("did you mean %s?", meant)}
		}
		return &usageError{fmt.Sprintf("unknown feature %q", name), "known features are " + strings.Join(featureNames(), ", ")}
	}
}
