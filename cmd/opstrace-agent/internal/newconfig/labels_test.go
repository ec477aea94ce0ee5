package newconfig

import (
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
