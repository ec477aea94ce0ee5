package newconfig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/golden"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

var options = Options{Cluster: "testcluster", Tenant: "default", TokenFile: "/etc/opstrace-agent/token"}

func load(t *testing.T, r *Result) *config.Config {
	t.Helper()
	cfg, err := scrapeconfig.Load(r.Text, "opstrace-agent.yml", log.NewNopLogger())
	if err != nil {
		t.Fatalf("%s\n%s", err, r.Text)
	}
	return cfg
}

func TestNew(t *testing.T) {
	r, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "new.golden.yml", string(r.Text))
	cfg := load(t, r)
	if got := cfg.RemoteWriteConfigs[0].URL.String(); got != "https://cortex.default.testcluster.opstrace.io/api/v1/push" {
		t.Errorf("got %s", got)
	}
	if got := cfg.RemoteWriteConfigs[0].HTTPClientConfig.Authorization.CredentialsFile; got != options.TokenFile {
		t.Errorf("got token file %s", got)
	}
}

// TestCommentedOut: everything that is commented out is right as well.
func TestCommentedOut(t *testing.T) {
	r, err := New(Options{Cluster: "test.example.org", Tenant: "a-b"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(r.Text), "\n  token_file:") {
		t.Errorf("got a token file:\n%s", r.Text)
	}
	all := regexp.MustCompile(`(?m)^( *)#([^ #]|  )`).ReplaceAll(r.Text, []byte("$1$2"))
	cfg := load(t, &Result{Text: all})
	rw := cfg.RemoteWriteConfigs[0]
	if len(cfg.ScrapeConfigs) != 3 || cfg.GlobalConfig.ExternalLabels.Len() != 1 ||
		!rw.HTTPClientConfig.TLSConfig.InsecureSkipVerify || rw.HTTPClientConfig.Authorization == nil {
		t.Errorf("got\n%s", all)
	}
	if rw.URL.String() != "https://cortex.a-b.test.example.org/api/v1/push" {
		t.Errorf("got %s", rw.URL)
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct {
		o   Options
		msg string
	}{
		{Options{Tenant: "default"}, "cluster is missing in the opstrace block"},
		{Options{Cluster: "c", Tenant: "No"}, `tenant "No" is not a tenant's name`},
	} {
		_, err := New(tc.o)
		_, errFrom := From(tc.o, Source{Path: "prometheus.yml"})
		for _, err := range []error{err, errFrom} {
			refused := (*scrapeconfig.Error)(nil)
			if !errors.As(err, &refused) || refused.Error() != tc.msg || refused.Hint == "" {
				t.Errorf("got %#v", err)
			}
		}
	}
}

func from(t *testing.T, content string, moved bool) *Result {
	t.Helper()
	r, err := From(options, Source{Content: []byte(content), Path: "/etc/prometheus/prometheus.yml", Moved: moved})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFromGolden(t *testing.T) {
	for _, name := range []string{"default", "site"} {
		content, err := os.ReadFile(filepath.Join("testdata", name+".yml"))
		if err != nil {
			t.Fatal(err)
		}
		r := from(t, string(content), true)
		load(t, r)
		report := strings.Join(append(slices.Clone(r.LeftOut), r.Notes...), "\n") + "\n"
		golden.Compare(t, name+".golden.yml", string(r.Text))
		golden.Compare(t, name+".golden.txt", report)
	}
}

// TestFromConversion: what the agent would refuse in an entry that is kept, or
// that becomes the opstrace section, is left out.
func TestFromConversion(t *testing.T) {
	for name, entries := range map[string]string{
		"last":              "- url: http://x\n  convert_nhcb_to_classic: true\n",
		"first":             "- convert_nhcb_to_classic: true\n  url: http://x\n",
		"in braces":         "- {url: http://x, convert_nhcb_to_classic: true}\n",
		"the section's own": "- url: https://cortex.default.testcluster.opstrace.io/api/v1/push\n  convert_nhcb_to_classic: true\n- url: http://x\n",
	} {
		r := from(t, "remote_write:\n"+entries, false)
		cfg := load(t, r)
		if len(cfg.RemoteWriteConfigs) != 2 || cfg.RemoteWriteConfigs[0].URL.String() != "http://x" {
			t.Errorf("%s: got\n%s", name, r.Text)
		}
		if len(r.LeftOut) != 1 || !strings.HasSuffix(r.LeftOut[0], ": remote_write: convert_nhcb_to_classic makes several series of one sample, which cannot be accounted for") {
			t.Errorf("%s: left out %q", name, r.LeftOut)
		}
	}
}

func TestFromShapes(t *testing.T) {
	for name, tc := range map[string]struct {
		content string
		jobs    []string
	}{
		"empty":             {"", nil},
		"comments alone":    {"# nothing\n", nil},
		"nothing left":      {"rule_files: [a.yml]\n", nil},
		"no line break":     {"scrape_configs:\n- job_name: a", []string{"a"}},
		"no indentation":    {"scrape_configs:\n# about a\n- job_name: a\n- job_name: b\n", []string{"a", "b"}},
		"null":              {"scrape_configs:\nglobal: {scrape_interval: 5s}\n", nil},
		"empty list":        {"scrape_configs: []\n", nil},
		"json":              {`{"scrape_configs": [{"job_name": "a"}, {"job_name": "c", "consul_sd_configs": [{}]}], "rule_files": ["x"]}`, []string{"a"}},
		"list in brackets":  {"scrape_configs: [{job_name: a}]\n", []string{"a"}},
		"job in braces":     {"scrape_configs:\n- {job_name: a, consul_sd_configs: [], static_configs: []}\n", []string{"a"}},
		"dash on its own":   {"scrape_configs:\n  -\n    job_name: a\n  -\n    job_name: c\n    consul_sd_configs: [{}]\n", []string{"a"}},
		"all jobs gone":     {"scrape_configs:\n- job_name: a\n  consul_sd_configs: [{}]\n", nil},
		"carriage returns":  {"rule_files:\r\n- a\r\nscrape_configs:\r\n- job_name: a\r\n", []string{"a"}},
		"quoted keys":       {"'rule_files': [a]\n\"scrape_configs\":\n- \"job_name\": a\n", []string{"a"}},
		"anchors":           {"scrape_configs:\n- &a\n  job_name: a\n  scheme: https\n- <<: *a\n  job_name: b\n", []string{"a", "b"}},
		"scrapes the agent": {"scrape_configs:\n- job_name: opstrace-agent\n  static_configs: []\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := from(t, tc.content, false)
			cfg := load(t, r)
			var jobs []string
			for _, j := range cfg.ScrapeConfigs {
				jobs = append(jobs, j.JobName)
			}
			if want := append(tc.jobs, "opstrace-agent", "node"); !slices.Equal(jobs, want) {
				t.Errorf("got jobs %q, want %q:\n%s", jobs, want, r.Text)
			}
			if len(cfg.RemoteWriteConfigs) != 1 {
				t.Errorf("got %d destinations", len(cfg.RemoteWriteConfigs))
			}
		})
	}
}

// TestFromNode: no second job where one is there for the metrics of this host.
func TestFromNode(t *testing.T) {
	const jobs = "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['%s']}]\n"
	for name, tc := range map[string]struct {
		content, job string
	}{
		"here":          {fmt.Sprintf(jobs, "localhost:9100"), ""},
		"by address":    {fmt.Sprintf(jobs, "[::1]:9100"), ""},
		"by name":       {fmt.Sprintf(jobs, "edge-1:9100"), ""},
		"elsewhere":     {fmt.Sprintf(jobs, "edge-2:9100"), "node"},
		"another port":  {fmt.Sprintf(jobs, "localhost:9101"), "node"},
		"the same name": {strings.Replace(fmt.Sprintf(jobs, "edge-2:9100"), "job_name: a", "job_name: node", 1), "host"},
		"a section":     {"host: {job_name: mine}\n", "mine"},
	} {
		o := options
		o.Hostname = "edge-1"
		r, err := From(o, Source{Content: []byte(tc.content), Path: "/etc/prometheus/prometheus.yml"})
		if err != nil {
			t.Fatal(err)
		}
		job := ""
		for _, j := range load(t, r).ScrapeConfigs {
			if len(j.ServiceDiscoveryConfigs) == 1 && j.ServiceDiscoveryConfigs[0].Name() == "host" {
				job = j.JobName
			}
		}
		if told := len(r.Notes) == 1 && strings.Contains(r.Notes[0], "scrapes the node_exporter of this host"); job != tc.job || told != (job == "") {
			t.Errorf("%s: job %q, notes %q", name, job, r.Notes)
		}
	}
}

func TestFromRefused(t *testing.T) {
	const promtool = "check that Prometheus takes the file, with promtool check config"
	for name, tc := range map[string]struct{ content, msg, hint string }{
		"not yaml":   {"a: b: c\n", "/etc/prometheus/prometheus.yml: yaml: mapping values are not allowed in this context", promtool},
		"no mapping": {"- a\n", "/etc/prometheus/prometheus.yml: it is not a mapping", promtool},
		"our own":    {"opstrace: {cluster: a, tenant: b}\n", "/etc/prometheus/prometheus.yml: it has an opstrace section already", "run the agent with it as it is"},
		"not Prometheus": {"receivers: {}\n", "/etc/prometheus/prometheus.yml: field receivers not found in type config.plain",
			"check its spelling and its indentation; see https://prometheus.io/docs/prometheus/latest/configuration/configuration/"},
	} {
		_, err := From(options, Source{Content: []byte(tc.content), Path: "/etc/prometheus/prometheus.yml"})
		refused := (*scrapeconfig.Error)(nil)
		if !errors.As(err, &refused) || refused.Error() != tc.msg || refused.Hint != tc.hint {
			t.Errorf("%s: got %v (hint %q)", name, err, refused.Hint)
		}
	}
}

// TestFromUpstream: of every configuration that upstream's own tests accept, an
// agent is left.
func TestFromUpstream(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "config/testdata/*.good.yml"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := From(options, Source{Content: content, Path: file, Moved: true})
		if refused := (*scrapeconfig.Error)(nil); errors.As(err, &refused) && refused.File != file && strings.Contains(refused.Hint, "full build") {
			continue // a discovery in one of scrape_config_files: those are not rewritten
		}
		if err != nil && strings.Contains(err.Error(), `url "localhost:9090" is not one of http or https`) {
			continue // nothing can be sent there
		}
		if err != nil {
			t.Errorf("%s: %s", filepath.Base(file), err)
			continue
		}
		cfg := load(t, r)
		if cfg.RemoteWriteConfigs[len(cfg.RemoteWriteConfigs)-1].Name != "opstrace-default" {
			t.Errorf("%s: no opstrace section", file)
		}
		if filepath.Base(file) != "conf.good.yml" {
			continue
		}
		if len(cfg.ScrapeConfigs) != 9 || len(cfg.RemoteWriteConfigs) != 3 {
			t.Errorf("got %d jobs and %d destinations:\n%s", len(cfg.ScrapeConfigs), len(cfg.RemoteWriteConfigs), r.Text)
		}
		for _, comment := range strings.Split(string(content), "\n") {
			if comment = strings.TrimSpace(comment); strings.HasPrefix(comment, "#") && !strings.Contains(string(r.Text), comment) {
				t.Errorf("comment is gone: %s", comment)
			}
		}
	}
}
