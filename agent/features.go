package agent

import "github.com/prometheus/prometheus/util/features"

// UpstreamFeatures are the features of Prometheus that are built in, by category
// and name, and whether they are on. Those of scraping and discovery are there once
// the storage is open.
func (a *Agent) UpstreamFeatures() map[string]map[string]bool { return a.features.Get() }

func newFeatures(f Features) features.Collector {
	r := features.NewRegistry()
	r.Enable(features.Prometheus, "agent_mode")
	r.Disable(features.Prometheus, "server_mode")
	r.Set(features.TSDB, "metadata_wal_records", f.MetadataWALRecords)
	r.Set(features.TSDB, "st_storage", f.STStorage)
	r.Set(features.Scrape, "st-synthesis", f.STSynthesis) // with a dash, as upstream has it
	return r
}
