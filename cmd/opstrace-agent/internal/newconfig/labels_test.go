package newconfig

import (
	"fmt"
	"strings"
	"testing"
)

func TestNewLabels(t *testing.T) {
	o := options
	o.Labels = []Label{{Name: "host", Value: "edge-17"}, {Name: "on", Value: "yes"}}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := load(t, r).GlobalConfig.ExternalLabels.String(); got != `{host="edge-17", on="yes"}` {
		t.Errorf("got %s\n%s", got, r.Text)
	}
}

// TestFromLabels: the labels join those that are there, in any way of writing.
func TestFromLabels(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"nothing":            {"", `{host="h", site="a,b"}`},
		"no global":          {"# first\nscrape_configs: []\n", `{host="h", site="a,b"}`},
		"global":             {"global:\n  # often\n  scrape_interval: 15s\n", `{host="h", site="a,b"}`},
		"global without any": {"global:\nscrape_configs: []\n", `{host="h", site="a,b"}`},
		"global in braces":   {"global: {scrape_interval: 15s}\n", `{host="h", site="a,b"}`},
		"empty braces":       {"global: {}\n", `{host="h", site="a,b"}`},
		"some":               {"global:\n  external_labels:\n    # the first\n    a: b\n  scrape_interval: 15s\n", `{a="b", host="h", site="a,b"}`},
		"some in braces":     {"global:\n  external_labels: {a: b}\n", `{a="b", host="h", site="a,b"}`},
		"none in braces":     {"global:\n  external_labels: {}\n", `{host="h", site="a,b"}`},
		"null":               {"global:\n  external_labels:\n  scrape_interval: 15s\n", `{host="h", site="a,b"}`},
		"all in braces":      {"global: {external_labels: {a: b}}\n", `{a="b", host="h", site="a,b"}`},
		"JSON":               {`{"global": {"external_labels": {"a": "b"}}, "scrape_configs": []}`, `{a="b", host="h", site="a,b"}`},
		"host is there":      {"global:\n  external_labels:\n    host: mine\n", `{host="mine", site="a,b"}`},
		"site is there":      {"global:\n  external_labels: {site: old, a: b}\n", `{a="b", host="h", site="a,b"}`},
	} {
		t.Run(name, func(t *testing.T) {
			o := options
			o.Labels = []Label{{Name: "host", Value: "h", Weak: true}, {Name: "site", Value: "a,b"}}
			r, err := From(o, Source{Content: []byte(tc.content), Path: "/etc/prometheus/prometheus.yml"})
			if err != nil {
				t.Fatal(err)
			}
			if got := load(t, r).GlobalConfig.ExternalLabels.String(); got != tc.want {
				t.Errorf("got %s, notes %q\n%s", got, r.Notes, r.Text)
			}
			for line := range strings.Lines(tc.content) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") && !strings.Contains(string(r.Text), line) {
					t.Errorf("comment is gone: %s\n%s", line, r.Text)
				}
			}
		})
	}
}

// TestFromLabelsWithoutPlace: what cannot be added is told.
func TestFromLabelsWithoutPlace(t *testing.T) {
	o := options
	o.Labels = []Label{{Name: "host", Value: "h"}}
	r, err := From(o, Source{Content: []byte("global:\n  external_labels: &l {a: b}\n"), Path: "p.yml"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Notes, "\n"); !strings.Contains(got, "set host: h there") {
		t.Errorf("got %q\n%s", got, r.Text)
	}
}

func TestFromOwnServer(t *testing.T) {
	r := from(t, "scrape_configs:\n- job_name: prometheus\n  static_configs: [{targets: ['localhost:9090']}]\n", false)
	if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "localhost:9090 is scraped still: ") {
		t.Errorf("got %q", r.Notes)
	}
}

// TestFromPathsOnOneLine: all paths of a line become absolute.
func TestFromPathsOnOneLine(t *testing.T) {
	r := from(t, "scrape_configs:\n- job_name: a\n  tls_config: {ca_file: ca.pem, cert_file: 'c.pem', key_file: \"ké.pem\"}\n  file_sd_configs: [{files: [a.yml, b.yml]}]\n", true)
	tls := load(t, r).ScrapeConfigs[0].HTTPClientConfig.TLSConfig
	if tls.CAFile != "/etc/prometheus/ca.pem" || tls.CertFile != "/etc/prometheus/c.pem" || tls.KeyFile != "/etc/prometheus/ké.pem" || len(r.Notes) > 0 {
		t.Errorf("got %+v, notes %q\n%s", tls, r.Notes, r.Text)
	}
	if !strings.Contains(string(r.Text), "files: [/etc/prometheus/a.yml, /etc/prometheus/b.yml]") {
		t.Errorf("got\n%s", r.Text)
	}
}

// TestFromAnchorsLeftOut: what is kept may refer to what is not.
func TestFromAnchorsLeftOut(t *testing.T) {
	r := from(t, `alerting:
  alertmanagers:
  - static_configs: &targets [{targets: [a:1]}]
    tls_config: &tls {insecure_skip_verify: true}
scrape_configs:
# about a
- job_name: a
  static_configs: *targets
  tls_config:
    <<: *tls
    server_name: x
`, false)
	job := load(t, r).ScrapeConfigs[0]
	if tls := job.HTTPClientConfig.TLSConfig; !tls.InsecureSkipVerify || tls.ServerName != "x" || len(job.ServiceDiscoveryConfigs) != 1 || !strings.Contains(string(r.Text), "# about a") {
		t.Errorf("got %+v\n%s", job, r.Text)
	}

	bomb, last := "", "x"
	for i, section := range []string{"alerting", "otlp", "storage", "rule_files", "remote_read"} {
		bomb += fmt.Sprintf("%s: &a%d [%s%s]\n", section, i, strings.Repeat(last+", ", 9), last)
		last = fmt.Sprintf("*a%d", i)
	}
	_, err := From(options, Source{Content: []byte(bomb + "scrape_configs:\n- job_name: a\n  static_configs: *a4\n"), Path: "p.yml"})
	if err == nil || err.Error() != "p.yml: its anchors stand for too much" {
		t.Errorf("got %v", err)
	}
}
