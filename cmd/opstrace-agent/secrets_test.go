package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestChecksHideSecrets plants one wherever a check could come across it.
func TestChecksHideSecrets(t *testing.T) {
	const secret = "pl4nted"
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true})
	e.Respond(agenttest.Answer{Status: 302, Header: map[string][]string{"Location": {"http://login.example.net/?back=" + secret}}})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), secret)
	file := write(t, filepath.Join(dir, "c.yml"), strings.ReplaceAll(fmt.Sprintf(`
remote_write:
- {name: a, url: "%[1]s?key=SECRET", bearer_token_file: token}
- {name: b, url: "%[1]s", basic_auth: {username: u, password: SECRET}}
- {name: c, url: "http://127.0.0.1:1/", authorization: {credentials: SECRET}, headers: {x-key: SECRET}}
- {name: d, url: "http://127.0.0.1:1/", proxy_url: "http://u:SECRET@127.0.0.1:2"}
scrape_configs:
- job_name: target
  params: {api_key: [SECRET]}
  basic_auth: {username: u, password: SECRET}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: discovery
  http_sd_configs: [{url: "http://u:SECRET@127.0.0.1:1/?token=SECRET"}]
`, e.URL()), "SECRET", secret))
	for _, check := range []string{"push", "targets"} {
		stdout, stderr, code := runCommand(t, "", "check", check, file)
		if code != exitFailed || !strings.Contains(stdout, "FAIL") || strings.Contains(stdout+stderr, secret) {
			t.Errorf("check %s: code %d\n%s%s", check, code, stdout, stderr)
		}
	}
}

// TestRunHidesSecrets plants some in URLs, with which every error of an HTTP
// client begins, and makes the agent fail with each of them.
func TestRunHidesSecrets(t *testing.T) {
	const secret = "pl4nted"
	t.Parallel()
	dir := t.TempDir()
	config := func(destination string) string {
		return strings.ReplaceAll(fmt.Sprintf(`
runtime: {log_level: debug}
remote_write:
- {name: %s, url: "http://u:SECRET@127.0.0.1:1/push?token=SECRET"}
scrape_configs:
- job_name: target
  scrape_interval: 100ms
  scrape_timeout: 100ms
  params: {api_key: [SECRET]}
  static_configs: [{targets: ["127.0.0.1:1"]}]
- job_name: discovery
  http_sd_configs: [{url: "http://u:SECRET@127.0.0.1:1/?token=SECRET"}]
`, destination), "SECRET", secret)
	}
	file := write(t, filepath.Join(dir, "c.yml"), config("first"))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0",
		"--web.external-url=http://u:"+secret+"@agent.example.org/?key="+secret, "--web.route-prefix=/", "--scrape.discovery-reload-interval=1s")
	logged := func(words string) {
		t.Helper()
		r.awaitLog(words)
	}
	logged(`http://xxxxx@127.0.0.1:1/push?token=xxxxx`)
	logged(`127.0.0.1:1/metrics?api_key=xxxxx`)
	logged(`http://xxxxx@127.0.0.1:1/?token=xxxxx`)

	write(t, file, config("second"))
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	write(t, file, strings.ReplaceAll(config("third"), ":1/push", ":port/push"))
	code, answer := r.request(http.MethodPost, "/-/reload")
	if code != http.StatusInternalServerError || !strings.Contains(answer, "invalid port") {
		t.Errorf("%d %s", code, answer)
	}
	logged("invalid port")

	_, flags := r.get("/api/v1/status/flags")
	for _, f := range []string{`"web.external-url":"http://xxxxx@agent.example.org/?key=xxxxx"`, `"scrape.discovery-reload-interval":"1s"`, `"auto-gomaxprocs":"true"`} {
		if !strings.Contains(flags, f) {
			t.Errorf("no %s in %s", f, flags)
		}
	}
	if strings.Contains(flags, "storage.tsdb") {
		t.Errorf("flags that are none: %s", flags)
	}
	_, shown := r.get("/api/v1/status/config")
	if !strings.Contains(shown, "push?token=xxxxx") {
		t.Errorf("the configuration: %s", shown)
	}
	for _, text := range []string{r.log.String(), answer, flags, shown} {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("shown: …%s…", text[max(0, i-200):i+len(secret)])
		}
	}
}
