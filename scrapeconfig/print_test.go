package scrapeconfig

import (
	"strings"
	"testing"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// What is printed means what it was printed from.
func TestPrintLoads(t *testing.T) {
	t.Setenv("SCRAPECONFIG_TEST_SITE", "berlin")
	for _, path := range goodFiles(t) {
		cfg, err := LoadFile(path, log.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		want, err := Print(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Print(mustLoad(t, want))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

func TestPrintHidesSecrets(t *testing.T) {
	text, err := Print(mustLoad(t, strings.ReplaceAll(`
remote_write:
- {url: "https://SECRET@a/push?x=SECRET", headers: {X-A: SECRET}}
scrape_configs:
- job_name: a
  params: {module: [shown-module], auth: [SECRET, SECRET]}
  http_headers: {X-A: {values: [SECRET]}}
  static_configs:
  - targets: [h]
    labels: {__param_api_key: SECRET, __param_module: shown-label, token: shown-token}
  relabel_configs:
  - {target_label: __param_token, replacement: SECRET}
  - {source_labels: [a], target_label: __param_password, replacement: "$1"}
  - {target_label: __param_module, replacement: shown-replacement}
`, "SECRET", "pl4nted")))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "pl4nted") || strings.Count(text, redact.Hidden) != 6 {
		t.Errorf("a secret is printed, or not marked:\n%s", text)
	}
	for _, shown := range []string{"https://xxxxx@a/push?x=xxxxx", "shown-module", "shown-label", "shown-token", "shown-replacement", "target_label: __param_password"} {
		if !strings.Contains(text, shown) {
			t.Errorf("%s is not printed:\n%s", shown, text)
		}
	}
}

// Upstream's errors quote what they cannot parse.
func TestErrorHidesPassword(t *testing.T) {
	_, err := Load([]byte("remote_write:\n- url: https://u:se/cret@a/push\n"), "agent.yml", nil)
	want := `agent.yml:2: parse "https://xxxxx@a/push": invalid port ":se" after host`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
