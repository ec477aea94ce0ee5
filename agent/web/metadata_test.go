package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/metadata"
)

func TestMetadata(t *testing.T) {
	addrs := make([]string, 2)
	for i := range addrs {
		target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "# HELP a_total Of target %d.\n# TYPE a_total counter\na_total 1\n# TYPE b gauge\nb 1\n", i)
		}))
		defer target.Close()
		addrs[i] = strings.TrimPrefix(target.URL, "http://")
	}
	a := startAgent(t, fmt.Sprintf(`
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs:
- {job_name: x, static_configs: [{targets: [%q]}]}
- {job_name: y, static_configs: [{targets: [%q]}]}
`, addrs[0], addrs[1]))
	s, err := New(Options{Agent: a, Gatherer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	of := func(query string) (list []map[string]any) {
		t.Helper()
		decodeData(t, s, "/api/v1/targets/metadata?"+query, &list)
		return list
	}
	eventually(t, "both targets are scraped", func() bool { return len(of("")) == 4 })
	for query, want := range map[string]string{
		"":                          "x a_total, x b, y a_total, y b, ",
		"limit=1":                   "x a_total, x b, ", // by whole targets, as upstream's
		"limit=0":                   "",
		"metric=a_total":            "x <nil>, y <nil>, ",
		"metric=none":               "",
		`match={job="y"}`:           "y a_total, y b, ",
		`match={job=~"x|z"}`:        "x a_total, x b, ",
		`match={job!="x"}&metric=b`: "y <nil>, ",
	} {
		var got strings.Builder
		query, selector, _ := strings.Cut(query, "match=")
		selector, rest, _ := strings.Cut(selector, "&")
		if selector != "" {
			query = url.Values{"match_target": {selector}}.Encode() + "&" + rest
		}
		for _, m := range of(query) {
			fmt.Fprintf(&got, "%s %v, ", m["target"].(map[string]any)["job"], m["metric"])
		}
		if got.String() != want {
			t.Errorf("%s: %s instead of %s", query, got.String(), want)
		}
	}
	if got, want := of("metric=a_total")[1], (map[string]any{
		"target": map[string]any{"job": "y", "instance": addrs[1]}, "type": "counter", "help": "Of target 1.", "unit": "",
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v instead of %v", got, want)
	}

	for query, want := range map[string]map[string]int{
		"":                   {"a_total": 2, "b": 1},
		"limit=1":            {"a_total": 2},
		"limit_per_metric=1": {"a_total": 1, "b": 1},
		"metric=b":           {"b": 1},
		"metric=none":        {},
	} {
		var got map[string][]metadata.Metadata
		decodeData(t, s, "/api/v1/metadata?"+query, &got)
		sizes := map[string]int{}
		for name, list := range got {
			sizes[name] = len(list)
		}
		if !reflect.DeepEqual(sizes, want) {
			t.Errorf("%s: %v instead of %v", query, sizes, want)
		}
	}
	for path, want := range map[string]string{
		"targets/metadata?limit=x":        "limit must be a number",
		"targets/metadata?match_target={": `invalid parameter \"match_target\": `,
		"metadata?limit=x":                "limit must be a number",
		"metadata?limit_per_metric=x":     "limit_per_metric must be a number",
	} {
		if rec := get(t, s.Handler(), "/api/v1/"+path); rec.Code != 400 || !strings.Contains(rec.Body.String(), `"errorType":"bad_data","error":"`+want) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
}
