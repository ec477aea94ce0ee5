package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// nodeQueries are of the dashboard "Node Exporter Full" (grafana.com/dashboards/1860), with
// its variables filled in. That of the root file system is left out: in a container it is of
// a kind that the collector ignores.
var nodeQueries = []string{
	`100 * (1 - avg(rate(node_cpu_seconds_total{mode="idle", instance="edge"}[1m])))`,
	`scalar(node_load1{instance="edge",job="node"}) * 100 / count(count(node_cpu_seconds_total{instance="edge",job="node"}) by (cpu))`,
	`(1 - (node_memory_MemAvailable_bytes{instance="edge", job="node"} / node_memory_MemTotal_bytes{instance="edge", job="node"})) * 100`,
	`node_memory_SwapTotal_bytes{instance="edge",job="node"}`,
	`node_time_seconds{instance="edge",job="node"} - node_boot_time_seconds{instance="edge",job="node"}`,
	`rate(node_network_receive_bytes_total{instance="edge",job="node"}[1m])*8`,
	`rate(node_disk_reads_completed_total{instance="edge",job="node"}[1m])`,
	`rate(node_disk_io_time_seconds_total{instance="edge",job="node"}[1m])`,
	`node_filesystem_avail_bytes{instance="edge",job="node"} / node_filesystem_size_bytes{instance="edge",job="node"}`,
	`node_uname_info{instance="edge"}`,
	`node_scrape_collector_success{collector="cpu"} == 1`,
	`backup_last_success_seconds == 12`,
	`up{instance="edge",job="node",site="berlin"} == 1`,
}

// TestHostMetrics: a job of this host is scraped, relabelled and delivered like any job, and leaves
// nothing open.
func TestHostMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	text := filepath.Join(r.dir, "textfile")
	if err := os.Mkdir(text, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(text, "backup.prom"), []byte("backup_last_success_seconds 12\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	const job = `
  - job_name: node
    scrape_interval: 1s
    host_sd_configs:
    - instance: edge
      collectors:
        textfile: {directory: %s}
    relabel_configs:
    - {target_label: site, replacement: berlin}
`
	r.jobs = fmt.Sprintf(job, text)
	r.start()
	for _, query := range nodeQueries {
		r.eventually(query, func() error {
			switch found, err := r.endpoint.Snapshot().Query(t.Context(), query, time.Now()); {
			case err != nil:
				return err
			case len(found) == 0:
				return fmt.Errorf("no data: %s", r.log)
			}
			return nil
		})
	}
	r.jobs += "    metric_relabel_configs:\n    - {source_labels: [__name__], regex: node_load1, action: drop}\n"
	r.jobs = strings.Replace(r.jobs, "{directory: "+text+"}", "false", 1)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	r.eventually("a word about the collectors", func() error {
		if !strings.Contains(r.log.String(), "The collectors of this host change at a restart only") {
			return errors.New("not yet")
		}
		return nil
	})
	needsRestart := func() bool {
		return slices.ContainsFunc(r.status().Verdict.Problems, func(p verdict.Problem) bool { return p.Kind == verdict.RestartNeeded })
	}
	if !needsRestart() {
		t.Error("the verdict does not tell of the collectors")
	}
	r.eventually("the rule of the new file", func() error {
		found, err := r.endpoint.Snapshot().Query(t.Context(), "node_load1", time.Now())
		if err == nil && len(found) > 0 {
			return fmt.Errorf("got %v", found)
		}
		return err
	})
	r.jobs = strings.Replace(r.jobs, "textfile: false", "textfile: {directory: "+text+"}", 1)
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	if needsRestart() {
		t.Error("the verdict tells of collectors that are those of the file again")
	}
	r.stop()
	r.checkNothingLost(r.endpoint)
}
