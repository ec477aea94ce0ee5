package newconfig

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/golden"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// TestForeign: what Grafana Agent and vmagent have in common with Prometheus is kept,
// with its comments; every other key is told, with its line and a reason.
func TestForeign(t *testing.T) {
	for _, name := range []string{"grafana", "vmagent"} {
		content, err := os.ReadFile(filepath.Join("testdata", name+".yml"))
		if err != nil {
			t.Fatal(err)
		}
		r := from(t, string(content), true)
		load(t, r)
		golden.Compare(t, name+".golden.yml", string(r.Text))
		golden.Compare(t, name+".golden.txt", strings.Join(append(slices.Clone(r.LeftOut), r.Notes...), "\n")+"\n")
	}
}

// TestGrafanaKeys: no key of a file vanishes without a word: it is in the result, or
// told with the line where it stands.
func TestGrafanaKeys(t *testing.T) {
	for _, tables := range []struct {
		text string
		keys map[string]string
	}{
		{"metrics:\n  configs: []\n%s: {}\n", grafanaSections},
		{"metrics:\n  configs: []\n  %s: {}\n", grafanaMetrics},
		{"metrics:\n  configs:\n  - %s: {}\n", grafanaInstance},
		{"integrations:\n  %s: {}\n", grafanaIntegrations},
	} {
		for key := range tables.keys {
			text := strings.Replace(tables.text, "%s", key, 1)
			line := strings.Count(text[:strings.Index(text, key)], "\n") + 1
			r := from(t, text, false)
			if len(r.LeftOut) != 1 || lineOf(r.LeftOut[0]) != line || !strings.Contains(r.LeftOut[0], key+": ") {
				t.Errorf("%s: left out %q, in line %d", key, r.LeftOut, line)
			}
		}
	}
}

// TestGrafanaHostFilterOff: what is switched off there is not missed here.
func TestGrafanaHostFilterOff(t *testing.T) {
	for value, leftOut := range map[string]int{"false": 0, "true": 1} {
		if r := from(t, "metrics:\n  configs:\n  - host_filter: "+value+"\n", false); len(r.LeftOut) != leftOut {
			t.Errorf("%s: left out %q", value, r.LeftOut)
		}
	}
}

func TestGrafanaShapes(t *testing.T) {
	const push = "https://cortex.default.testcluster.opstrace.io/api/v1/push"
	for name, tc := range map[string]struct {
		content string
		jobs    []string
		writes  []string // beside the opstrace section
	}{
		"integrations alone":    {"integrations: {node_exporter: {enabled: true}}\n", nil, nil},
		"before 0.24":           {"prometheus:\n  configs:\n  - name: a\n    scrape_configs: [{job_name: x}]\n", []string{"x"}, nil},
		"JSON":                  {`{"metrics": {"configs": [{"name": "a", "scrape_configs": [{"job_name": "x"}], "remote_write": [{"url": "http://w"}]}]}}`, []string{"x"}, []string{"http://w"}},
		"global for all":        {"metrics:\n  global: {remote_write: [{url: 'http://w'}]}\n  configs: [{name: a}, {name: b}]\n", nil, []string{"http://w"}},
		"an empty list of own":  {"metrics:\n  global: {remote_write: [{url: 'http://w'}]}\n  configs: [{name: a, remote_write: []}]\n", nil, []string{"http://w"}},
		"global for nobody":     {"metrics:\n  global: {remote_write: [{url: 'http://w'}]}\n  configs: [{name: a, remote_write: [{url: 'http://v'}]}]\n", nil, []string{"http://v"}},
		"the same twice":        {"metrics:\n  configs: [{name: a, remote_write: [{url: 'http://v'}]}, {name: b, remote_write: [{url: 'http://v'}]}]\n", nil, []string{"http://v"}},
		"to the tenant already": {"metrics:\n  configs: [{name: a, remote_write: [{url: '" + push + "'}]}]\n", nil, nil},
		"one name, two jobs":    {"metrics:\n  configs: [{name: a, scrape_configs: [{job_name: x}]}, {name: b, scrape_configs: [{job_name: x}]}]\n", []string{"x", "b/x"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := from(t, tc.content, false)
			cfg := load(t, r)
			var jobs, writes []string
			for _, j := range cfg.ScrapeConfigs {
				jobs = append(jobs, j.JobName)
				if j.JobName == "b/x" && (len(j.RelabelConfigs) != 1 || j.RelabelConfigs[0].TargetLabel != "job" || j.RelabelConfigs[0].Replacement != "x") {
					t.Errorf("the label job of %s changes", j.JobName)
				}
			}
			for _, rw := range cfg.RemoteWriteConfigs {
				if rw.Name != "opstrace-default" {
					writes = append(writes, rw.URL.String())
				}
			}
			if !slices.Equal(jobs, append(tc.jobs, selfName, nodeJob)) || !slices.Equal(writes, tc.writes) {
				t.Errorf("got jobs %q and destinations %q\n%s\n%q", jobs, writes, r.Text, r.LeftOut)
			}
		})
	}
}

// TestVmagentKeys: as for Grafana Agent.
func TestVmagentKeys(t *testing.T) {
	for _, tables := range []struct {
		text string
		keys map[string]string
	}{
		{"global:\n  scrape_interval: 5s\n  %s: []\n", vmagentGlobal},
		{"scrape_configs:\n- job_name: a\n  %s: []\n", vmagentJob},
	} {
		for key := range tables.keys {
			text := strings.Replace(tables.text, "%s", key, 1)
			r := from(t, text, false)
			if len(r.LeftOut) != 1 || lineOf(r.LeftOut[0]) != 3 || !strings.Contains(r.LeftOut[0], key+": ") {
				t.Errorf("%s: left out %q", key, r.LeftOut)
			}
			if !strings.Contains(strings.Join(r.Notes, "\n"), "-remoteWrite.url") {
				t.Errorf("%s: nothing of where vmagent sends to: %q", key, r.Notes)
			}
		}
	}
}

// TestVmagentSizes: a size is the same number of bytes, and a note says where its unit
// means another one here.
func TestVmagentSizes(t *testing.T) {
	for size, want := range map[string]int64{"16777216": 16 << 20, "16MiB": 16 << 20, "16MB": 16_000_000, "1.5MB": 1_500_000, "500KB": 500_000} {
		r := from(t, "scrape_configs:\n- job_name: a\n  max_scrape_size: "+size+"\n", false)
		if got := int64(load(t, r).ScrapeConfigs[0].BodySizeLimit); got != want {
			t.Errorf("%s: %d bytes, not %d", size, got, want)
		}
		if told := strings.Contains(strings.Join(r.Notes, "\n"), "line 3: job a: "+size+" is "); told != (strings.HasSuffix(size, "B") && !strings.HasSuffix(size, "iB")) {
			t.Errorf("%s: %q", size, r.Notes)
		}
	}
}

// TestVmagentTargets: vmagent takes URLs for targets, Prometheus refuses the file for one.
func TestVmagentTargets(t *testing.T) {
	for target, want := range map[string]string{
		"h:1":                          "http://h:1/metrics",
		"http://h:1":                   "http://h:1/metrics",
		"https://h":                    "https://h/metrics",
		"h:1/a/b":                      "http://h:1/a/b",
		"http://h:1/":                  "http://h:1/",
		"https://h:1/a?x=1&token=s3cr": "https://h:1/a?token=s3cr&x=1",
		"http://h:1/a?x=1&x=2":         "one value of each parameter",
		"http://h:1/a?%zz":             "parameters cannot be read",
		"http://u:s3cr@h:1/a":          "user and password",
		"ftp://h:1/a":                  "http and https only",
	} {
		r := from(t, "scrape_configs:\n- job_name: a\n  static_configs:\n  - labels: {own: x}\n    targets:\n    - first:9\n    - '"+target+"'\n", false)
		cfg := load(t, r)
		told := strings.Join(append(slices.Clone(r.LeftOut), r.Notes...), "\n")
		if strings.Contains(told, "s3cr") {
			t.Errorf("%s: a secret is shown: %s", target, told)
		}
		if target != "h:1" && !strings.Contains(told, "line 7: ") {
			t.Errorf("%s: told %q", target, told)
		}
		if !strings.HasPrefix(want, "http") || strings.Contains(want, " ") {
			if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0], want) {
				t.Errorf("%s: left out %q", target, r.LeftOut)
			}
			continue
		}
		job := cfg.ScrapeConfigs[0]
		var urls []string
		for i, group := range job.ServiceDiscoveryConfigs[0].(discovery.StaticConfig) {
			if group.Labels["own"] != "x" {
				t.Errorf("%s: group %d lost its label: %s", target, i, r.Text)
			}
			targets, problems := scrape.TargetsFromGroup(group, job, nil, labels.NewBuilder(labels.EmptyLabels()))
			if len(problems) != 0 {
				t.Errorf("%s: %v", target, problems)
			}
			for _, one := range targets {
				urls = append(urls, one.URL().String())
			}
		}
		if !slices.Equal(urls, []string{"http://first:9/metrics", want}) {
			t.Errorf("%s: scraped %q, want %s\n%s", target, urls, want, r.Text)
		}
	}
}

// TestVmagentByName: a file of vmagent's without anything of its own is left as it is,
// and what is not in it is told.
func TestVmagentByName(t *testing.T) {
	const content = "scrape_configs:\n\n- job_name: a\n"
	for path, want := range map[string]bool{"/etc/vmagent/scrape.yml": true, "/etc/vmagent.yml": true, "/etc/prometheus/prometheus.yml": false} {
		r, err := From(options, Source{Content: []byte(content), Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(r.Notes, "\n"), "-remoteWrite.url"); got != want || !strings.Contains(string(r.Text), content) {
			t.Errorf("%s: notes %q\n%s", path, r.Notes, r.Text)
		}
	}
}

// TestForeignRefused: what is wrong in any program's file is told as for one of
// Prometheus.
func TestForeignRefused(t *testing.T) {
	for content, want := range map[string]string{
		"metrics:\n  configs: [{scrape_configs: [{job_name: a, scrape_interval: x}]}]\n": `not a valid duration string: "x"`,
		"scrape_configs: [{job_name: a, stream_parse: true, no_such: 1}]\n":              "field no_such not found",
	} {
		_, err := From(options, Source{Content: []byte(content), Path: "x.yml"})
		refused := (*scrapeconfig.Error)(nil)
		if !errors.As(err, &refused) || !strings.Contains(refused.Msg, want) || refused.Hint == "" {
			t.Errorf("%s: got %v", content, err)
		}
	}
}

// TestLinesOfWhatIsWrittenAnew: lines are those of the source, also where it had to be
// written anew to be taken apart.
func TestLinesOfWhatIsWrittenAnew(t *testing.T) {
	r := from(t, "{\n\n\"scrape_configs\": [{\"job_name\": \"a\"},\n\n{\"job_name\": \"c\", \"consul_sd_configs\": [{}]}],\n\n\"rule_files\": [\"x\"],\n\"remote_write\": [\n{\"url\": \"http://w\"}]}", false)
	want := []string{
		"line 5: job c: consul_sd_configs is only in the full build, opstrace-agent-full",
		"line 7: rule_files: rules are evaluated where the samples are queried",
	}
	if !slices.Equal(r.LeftOut, want) || !slices.Contains(r.Notes, "line 9: remote_write to another destination is kept: the agent sends there as well") {
		t.Errorf("got %q, %q", r.LeftOut, r.Notes)
	}
}
