package main

import (
	"fmt"
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
