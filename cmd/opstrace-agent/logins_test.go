package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestLoginsOfClouds: with the real modules, as in `make full`, the logins are taken;
// TestLeanRefusesLogins has what the shipped program says.
func TestLoginsOfClouds(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "google.json"), "{}")
	write(t, filepath.Join(dir, "agent.yml"), `scrape_configs: [{job_name: a}]
remote_write:
- url: http://127.0.0.1:1/aws
  sigv4: {region: eu-west-1, access_key: a, secret_key: s}
- url: http://127.0.0.1:1/azure
  azuread: {managed_identity: {client_id: 00000000-0000-0000-0000-000000000001}}
- url: http://127.0.0.1:1/google
  google_iam: {credentials_file: google.json}
`)
	stdout, stderr, code := runCommand(t, dir, "check", "config", "agent.yml")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "3 destinations") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
	stdout, _, code = runCommand(t, dir, "init", "--cluster=c", "--tenant=t", "--from=agent.yml")
	for _, login := range []string{"sigv4:", "azuread:", "google_iam:"} {
		if code != 0 || !strings.Contains(stdout, login) {
			t.Errorf("code %d, no %s in\n%s", code, login, stdout)
		}
	}
}
