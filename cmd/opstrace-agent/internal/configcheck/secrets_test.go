package configcheck

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func TestHoldsSecret(t *testing.T) {
	for text, want := range map[string]bool{
		"remote_write: [{url: 'http://a/', basic_auth: {username: u, password: p}}]":                           true,
		"remote_write: [{url: 'http://a/', authorization: {credentials: p}}]":                                  true,
		"remote_write: [{url: 'http://a/', bearer_token: p}]":                                                  true,
		"remote_write: [{url: 'http://a/', oauth2: {client_id: i, client_secret: p, token_url: 'http://b/'}}]": true,
		"remote_write: [{url: 'http://u:p@a/'}]":                                                               true,
		"remote_write: [{url: 'http://a/', headers: {X-Api-Key: p}}]":                                          true,
		"remote_write: [{url: 'http://a/', http_headers: {X-A: {secrets: [p]}}}]":                              true,
		"scrape_configs: [{job_name: a, params: {token: [p]}}]":                                                true,
		"scrape_configs: [{job_name: a, static_configs: [{targets: [b], labels: {__param_token: p}}]}]":        true,
		"remote_write: [{url: 'http://a/', authorization: {type: Bearer, credentials_file: f}}]":               false,
		"remote_write: [{url: 'http://a/', basic_auth: {username: u, password_file: f}}]":                      false,
		"remote_write: [{url: 'http://a/', headers: {X-Scope-OrgID: a}}]":                                      false,
		"opstrace: {cluster: c, tenant: t, token_file: f}":                                                     false,
		"global: {external_labels: {token: ring}}":                                                             false,
		"scrape_configs: [{job_name: a, params: {module: [x]}, relabel_configs: [{target_label: password}]}]":  false,
		"scrape_configs: [{job_name: a, params: {auth: [public_v2]}}]":                                         false,
		"scrape_configs: [{job_name: a, params: {auth: [public_v2], auth_token: [p]}}]":                        true,
		"scrape_configs: [{job_name: a, static_configs: [{targets: [b], labels: {__param_auth: v2}}]}]":        false,
		"": false,
	} {
		if got := HoldsSecret([]byte(text)); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

// TestOpenSecrets: a password in a file that everybody may read is told, with its line
// and not with itself.
func TestOpenSecrets(t *testing.T) {
	dir := t.TempDir()
	const password = "  basic_auth:\n    username: u\n    password: pl4nted\n"
	job := filepath.Join(dir, "jobs.yml")
	writeFile(t, job, "scrape_configs:\n- job_name: b\n"+password)
	path := filepath.Join(dir, "agent.yml")
	writeFile(t, path, "global: {external_labels: {host: a}}\nscrape_config_files: [jobs.yml]\nscrape_configs:\n- job_name: a\n"+password)
	find := func() (lines []string) {
		t.Helper()
		f, err := scrapeconfig.ReadFile(path, log.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		found, err := Look(f, path, "h")
		if err != nil {
			t.Fatal(err)
		}
		for _, finding := range found {
			if strings.Contains(finding.Msg, "every user of this host may read") {
				lines = append(lines, strings.ReplaceAll(finding.String(), dir+"/", ""))
			}
			if strings.Contains(finding.String()+finding.Hint, "pl4nted") {
				t.Errorf("it shows the password: %+v", finding)
			}
		}
		return lines
	}
	expect(t, find(), nil...)
	for _, p := range []string{path, job} {
		if err := os.Chmod(p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, find(), "agent.yml:7: every user of this host may read password", "jobs.yml:5: every user of this host may read password")
}
