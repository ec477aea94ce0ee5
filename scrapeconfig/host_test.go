package scrapeconfig

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
)

// TestHost: the block is a job like any other, with the defaults of the file.
func TestHost(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]struct {
		job, instance string
		interval      time.Duration
		collectors    int
	}{
		"host: {}\n": {"node", name, 20 * time.Second, 0},
		"host:\n  job_name: edge\n  instance: berlin-1\n  scrape_interval: 1m\n  collectors: {processes: true, textfile: {directory: /a}}\n": {"edge", "berlin-1", time.Minute, 2},
	} {
		cfg, err := Load([]byte("global: {scrape_interval: 20s}\n"+in+"scrape_configs: [{job_name: a}]\n"), "agent.yml", log.NewNopLogger())
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		job := cfg.ScrapeConfigs[1]
		host, is := job.ServiceDiscoveryConfigs[0].(*hostmetrics.SDConfig)
		if !is || job.JobName != want.job || host.Instance != want.instance || len(host.Collectors) != want.collectors || job.ScrapeInterval != model.Duration(want.interval) {
			t.Errorf("%s: got %+v of %+v", in, host, job)
		}
		text, err := Print(cfg)
		if err != nil || !strings.Contains(text, "host_sd_configs") {
			t.Errorf("%s: printed %v, %s", in, err, text)
		}
		again, err := Load([]byte(text), "agent.yml", log.NewNopLogger())
		if err != nil {
			t.Fatalf("what it prints is refused: %v\n%s", err, text)
		}
		if twice, err := Print(again); err != nil || twice != text {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", in, err, twice, text)
		}
	}
}

const collectorsForm = "write it like `collectors: {processes: true, filesystem: {mount-timeout: 5s}}`; see This host in /usr/share/doc/opstrace-agent/configuration.md"

var badHosts = []badCase{
	{"host:\n", "testdata/bad.yml:1: the host block must be a mapping", "write `host: {}` for the metrics of this host"},
	{"host: [a]\n", "testdata/bad.yml:1: the host block must be a mapping", "write `host: {}` for the metrics of this host"},
	{"host:\n  collector: {}\n", `testdata/bad.yml:2: unknown field "collector" in the host block`, "did you mean collectors?"},
	{"host:\n  static_configs: []\n", `testdata/bad.yml:2: unknown field "static_configs" in the host block`,
		"the block takes collectors, instance, job_name, scrape_interval, scrape_timeout, sample_limit, relabel_configs and metric_relabel_configs"},
	{"host:\n  collectors:\n    filesytem: true\n", `testdata/bad.yml:3: there is no collector "filesytem" in this build`, "did you mean filesystem?"},
	{"host:\n  collectors:\n    vmstat:\n      fields: (\n", "testdata/bad.yml:4: fields of collector vmstat: error parsing regexp: missing closing ): `(`", "Regexp of fields to return for vmstat collector."},
	{"host:\n  collectors:\n    stat: {a: b}\n", `testdata/bad.yml:3: collector stat has no option "a"`, "it has softirq"},
	{"host:\n  collectors:\n    cpu: 3.5\n", "testdata/bad.yml:3: a collector is true, false, or a mapping of its options", collectorsForm},
	{"host:\n  collectors:\n    cpu:\n      info: {a: b}\n", "testdata/bad.yml:4: an option of a collector is a value or a list of values", collectorsForm},
	{"host:\n  collectors: [cpu]\n", "testdata/bad.yml:2: collectors must be a mapping of their names to true, false or options", collectorsForm},
	{"host:\n  instance: a\n  collectors: cpu\n", "testdata/bad.yml:3: collectors must be a mapping of their names to true, false or options", collectorsForm},
	{"host:\n  collectors:\n    cpu: true\n    cpu: true\n", "testdata/bad.yml:4: mapping key \"cpu\" already defined at line 3", "keep one of them"},
	{"host:\n  collectors:\n    CPU: true\n", `testdata/bad.yml:3: there is no collector "CPU" in this build`, "did you mean cpu?"},
	{"host:\n  collectors:\n    cpu: {Info: true}\n", `testdata/bad.yml:3: collector cpu has no option "Info"`, "did you mean info?"},
	{"host:\n  collectors:\n    foo: true\n", `testdata/bad.yml:3: there is no collector "foo" in this build`, "see This host in /usr/share/doc/opstrace-agent/configuration.md"},
	{"host:\n  collectors:\n    filesystem:\n      mount-timeout: 5\n", `testdata/bad.yml:4: mount-timeout of collector filesystem: "5" is not a duration`, "write it like 5s"},
	{"host:\n  collectors:\n    filesystem:\n      mount-points-exclude: [^/mnt, ^/tmp]\n", "testdata/bad.yml:4: mount-points-exclude of collector filesystem takes one value, not 2", "write one pattern: '^/mnt|^/tmp'"},
	{"host:\n  collectors:\n    filesystem:\n      mount-points-exclude:\n", "testdata/bad.yml:4: mount-points-exclude of collector filesystem has no value", "write one, or remove the option: its default is in force then"},
	{"scrape_configs:\n- job_name: a\n  host_sd_configs: [{collectors: {stat: {softirq: [true, false]}}}]\n", "testdata/bad.yml:3: softirq of collector stat takes one value, not 2", manual},
	{"scrape_configs:\n- job_name: a\n  host_sd_configs: [{collectors: [cpu]}]\n", "testdata/bad.yml:3: collectors must be a mapping of their names to true, false or options", manual},
	{"host:\n  scrape_interval: 5\n", `testdata/bad.yml:2: scrape_interval in the host block: "5" is not a duration`, "write it like 30s"},
	{"host:\n  job_name: a\n  scrape_timeout: 1 s\n", `testdata/bad.yml:3: scrape_timeout in the host block: "1 s" is not a duration`, "write it like 10s"},
	{"host:\n  sample_limit: -1\n", `testdata/bad.yml:2: sample_limit in the host block: "-1" is not a number`, "write it like 10000"},
	{"host:\n  sample_limit: 1\n  sample_limit: a\n", `testdata/bad.yml:3: mapping key "sample_limit" already defined at line 2`, "keep one of them"},
	{"host:\n  job_name: [a]\n", "testdata/bad.yml:2: job_name in the host block is not a name", "write a name, or remove it: the job is named node then"},
	{"host:\n  instance: {a: b}\n", "testdata/bad.yml:2: instance in the host block is not a name", "write a name, or remove it: the host's name is taken then"},
	{"host:\n  metric_relabel_configs:\n  - action: foo\n", `testdata/bad.yml:3: unknown relabel action "foo"`, manual},
	{"host:\n  relabel_configs:\n  -\n", "testdata/bad.yml:2: empty relabeling rule in the host block", "remove it"},
	{"host:\n  job_name: ''\n", "testdata/bad.yml:2: job_name is empty in the host block", "remove it: the job is named node then"},
	{"scrape_configs:\n- job_name: node\nhost: {}\n", `testdata/bad.yml:3: the job of the host block is named "node", as one in scrape_configs is`,
		"give one of them another job_name:; if that one scrapes a node_exporter on this host, the block takes its place"},
	{"host:\n  scrape_interval: 5s\n  scrape_timeout: 10s\n", "testdata/bad.yml:3: scrape_timeout in the host block is longer than the scrape interval, 5s", "write 5s or less, or remove it: the timeout of global is taken then, as far as the interval allows"},
	{"host: {}\nhost: {}\n", "testdata/bad.yml:2: host is set a second time (first in line 1)", "keep one of them"},
	{"global: {}\n---\nhost: {}\n", "testdata/bad.yml:3: the host block is not in the first YAML document of the file", "remove the `---`, `...` or `%` line above it: only the first document is read"},
	{"global: {}\n  host: {}\n", "testdata/bad.yml:2: did not find expected key", "check the indentation, the colons and the quotes here and in the line above"},
	{"global:\n  host: {}\n", "testdata/bad.yml:2: field host not found in type config.plain", "write `host:` once, at the top level of the file, in UTF-8 and at the start of a line"},
	{"host: {collectors: {cpu: false}}\nscrape_configs:\n- job_name: other\n  host_sd_configs: [{instance: b}]\n", `testdata/bad.yml:1: the jobs "other" and "node" have different collectors`, "give all jobs of this host the same: a process has one set of them"},
	{"scrape_configs:\n- job_name: a\n  host_sd_configs: [{instance: b}]\n- job_name: b\n  host_sd_configs: [{collectors: {cpu: true}}]\n", `testdata/bad.yml:4: the jobs "a" and "b" have different collectors`, "give all jobs of this host the same: a process has one set of them"},
	{"scrape_configs:\n- job_name: a\n  host_sd_configs: [{collectors: {cpux: true}}]\n", `testdata/bad.yml:3: there is no collector "cpux" in this build`, manual},
	{"a: &a {}\nhost: *a\n", "testdata/bad.yml:2: the host block uses the anchor &a, which lies outside of the block", "write the value out in the block: it is read apart from the rest of the file"},
}

// TestHostAndOpstrace: two blocks, next to each other.
func TestHostAndOpstrace(t *testing.T) {
	cfg, err := Load([]byte("opstrace: {cluster: c, tenant: t}\n\nhost: {}\nglobal: {}\n"), "agent.yml", log.NewNopLogger())
	if err != nil || len(cfg.RemoteWriteConfigs) != 1 || len(cfg.ScrapeConfigs) != 1 {
		t.Errorf("got %v", err)
	}
}

// TestHostDirectory: relative paths of collectors begin at the folder of the file that has them.
func TestHostDirectory(t *testing.T) {
	dir := t.TempDir()
	included := filepath.Join(dir, "jobs", "a.yml")
	if err := os.Mkdir(filepath.Dir(included), 0o750); err != nil {
		t.Fatal(err)
	}
	const job = "scrape_configs: [{job_name: a, host_sd_configs: [{collectors: {textfile: {directory: tf}}}]}]\n"
	if err := os.WriteFile(included, []byte(job), 0o640); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string][]string{
		"host: {collectors: {textfile: {directory: tf}}}\n":        {dir + "/tf"},
		"host: {collectors: {textfile: {directory: [tf, /b]}}}\n":  {dir + "/tf", "/b"},
		"host: {collectors: {textfile: {directory: ../tf/*.d}}}\n": {filepath.Dir(dir) + "/tf/*.d"},
		job:                                   {dir + "/tf"},
		"scrape_config_files: [jobs/*.yml]\n": {dir + "/jobs/tf"},
	} {
		cfg, err := Load([]byte(in), filepath.Join(dir, "agent.yml"), log.NewNopLogger())
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		jobs, err := cfg.GetScrapeConfigs()
		if err != nil {
			t.Fatal(err)
		}
		got := jobs[0].ServiceDiscoveryConfigs[0].(*hostmetrics.SDConfig).Collectors["textfile"].Options["directory"]
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}
