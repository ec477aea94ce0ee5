package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInit(t *testing.T) {
	dir := t.TempDir()
	tenant := []string{"init", "--cluster=testcluster", "--tenant=default", "--token-file=token"}
	stdout, stderr, code := runCommand(t, dir, tenant...)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "\n  token_file: "+filepath.Join(dir, "token")+" #") {
		t.Fatalf("code %d, %q\n%s", code, stderr, stdout)
	}

	file := filepath.Join(dir, "agent.yml")
	stdout, stderr, code = runCommand(t, dir, append(tenant, "--output=agent.yml")...)
	if code != 0 || stdout != "" || stderr != "written: agent.yml; now try 'opstrace-agent check push agent.yml'\n" {
		t.Fatalf("code %d, %q, %q", code, stdout, stderr)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, stderr, code = runCommand(t, dir, append(tenant, "-o", "agent.yml")...)
	if code != exitUsage || stderr != "error: agent.yml exists\nhint: name another file, or overwrite it with --force\n" {
		t.Errorf("code %d, %q", code, stderr)
	}
	_, stderr, code = runCommand(t, dir, "init", "--cluster=other", "--tenant=default", "-o", "agent.yml", "--force")
	if code != 0 || !strings.HasPrefix(stderr, "note: no --token-file: only an instance without authentication takes samples so\n") {
		t.Errorf("code %d, %q", code, stderr)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) == string(before) {
		t.Errorf("not overwritten: %v", err)
	}
	if _, stderr, code = runCommand(t, dir, "check", "config", "agent.yml"); code != 0 {
		t.Errorf("code %d, %q", code, stderr)
	}
}

const ofPrometheus = `
rule_files: [rules.yml]
scrape_configs:
- job_name: node
  file_sd_configs: [{files: [nodes/*.yml]}]
remote_write:
- url: http://127.0.0.1:1/
  basic_auth: {username: me, password_file: password}
`

func TestInitFrom(t *testing.T) {
	dir := t.TempDir()
	from := write(t, filepath.Join(dir, "prometheus", "prometheus.yml"), ofPrometheus)
	write(t, filepath.Join(dir, "prometheus", "password"), "s3cret")
	write(t, filepath.Join(dir, "token"), "token")
	args := []string{"init", "--cluster=testcluster", "--tenant=default", "--token-file=token", "--from=prometheus/prometheus.yml"}
	stdout, stderr, code := runCommand(t, dir, args...)
	wantErr := "left out: line 2: rule_files: rules are evaluated where the samples are queried\n" +
		"note: line 7: remote_write to another destination is kept: the agent sends there as well\n"
	if code != 0 || stderr != wantErr || !strings.Contains(stdout, "files: ["+dir+"/prometheus/nodes/*.yml]") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
	// Beside the source, paths can stay as they are, and secrets as secret.
	_, stderr, code = runCommand(t, dir, append(args, "--output=prometheus/agent.yml")...)
	if code != 0 {
		t.Fatalf("code %d, %q", code, stderr)
	}
	made := filepath.Join(filepath.Dir(from), "agent.yml")
	content, err := os.ReadFile(made)
	if err != nil || !strings.Contains(string(content), "files: [nodes/*.yml]") {
		t.Errorf("%v\n%s", err, content)
	}
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %s, %v", info.Mode(), err)
	}
	stdout, stderr, code = runCommand(t, "", "check", "config", made)
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, made+" is valid: 2 scrape configs, 2 destinations\n") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

func TestInitErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ args, want string }{
		// One only: kingpin names several in any order.
		{"init --cluster=c", "error: required flag(s) '--tenant' not provided\nhint: 'opstrace-agent --help' lists the commands and flags\n"},
		{"init --cluster=c --tenant=T_1", "error: tenant \"T_1\" is not a tenant's name\nhint: "},
		{"init --cluster=c --tenant=t --from=missing.yml", "error: cannot read the configuration: open missing.yml: no such file or directory\nhint: name a file that can be read with --from\n"},
	} {
		stdout, stderr, code := runCommand(t, dir, strings.Fields(tc.args)...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, tc.want) {
			t.Errorf("%s: code %d, %q, %q", tc.args, code, stdout, stderr)
		}
	}
}
