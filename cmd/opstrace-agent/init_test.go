package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

func TestInit(t *testing.T) {
	dir := t.TempDir()
	tenant := []string{"init", "--cluster=testcluster", "--tenant=default", "--token-file=token"}
	stdout, stderr, code := runCommand(t, dir, tenant...)
	noToken := "note: " + filepath.Join(dir, "token") + " does not exist yet: write the tenant's token into it\n"
	if code != 0 || stderr != noToken || !strings.Contains(stdout, "\n  token_file: "+filepath.Join(dir, "token")+" #") {
		t.Fatalf("code %d, %q\n%s", code, stderr, stdout)
	}

	write(t, filepath.Join(dir, "token"), "token")
	file := filepath.Join(dir, "agent.yml")
	stdout, stderr, code = runCommand(t, dir, append(tenant, "--output=agent.yml")...)
	sudo := ""
	if os.Geteuid() == 0 {
		sudo = "sudo " // the token has mode 0600
	}
	if code != 0 || stdout != "" || stderr != "written: agent.yml; now try '"+sudo+"opstrace-agent check push agent.yml'\n" {
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

// TestInitLabels: what init writes tells this host from others, unless the user
// says no.
func TestInitLabels(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Skip("this host has no name:", err)
	}
	dir := t.TempDir()
	for _, tc := range []struct{ args, want string }{
		{"", labels.FromStrings("host", name).String()},
		{"--label=site=berlin --label=rack=7", labels.FromStrings("host", name, "site", "berlin", "rack", "7").String()},
		{"--label=host=edge-17", `{host="edge-17"}`},
		{"--no-host-label", `{}`},
		{"--no-host-label --label=site=berlin", `{site="berlin"}`},
	} {
		args := append([]string{"init", "--cluster=c", "--tenant=t", "-o", "agent.yml", "--force"}, strings.Fields(tc.args)...)
		if _, stderr, code := runCommand(t, dir, args...); code != 0 {
			t.Fatalf("%s: code %d, %q", tc.args, code, stderr)
		}
		cfg, err := scrapeconfig.LoadFile(filepath.Join(dir, "agent.yml"), log.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.GlobalConfig.ExternalLabels.String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.args, got, tc.want)
		}
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
	args := []string{"init", "--cluster=testcluster", "--tenant=default", "--token-file=token", "--no-host-label", "--from=prometheus/prometheus.yml"}
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
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, made+" is valid: 3 scrape configs, 2 destinations\n") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

func TestInitErrors(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ args, want string }{
		// One only: kingpin names several in any order.
		{"init --cluster=c", "error: required flag(s) '--tenant' not provided\nhint: 'opstrace-agent init --help' lists the commands and flags\n"},
		{"init --cluster=c --tenant=T_1", "error: tenant \"T_1\" is not a tenant's name\nhint: "},
		{"init --cluster=c --tenant=t --label=site-id=7", "error: --label=site-id=7: \"site-id\" is not the name of a label that an Opstrace tenant takes: letters, digits and _ only\nhint: write it like --label=site=berlin\n"},
		{"init --cluster=c --tenant=t --label=site", "error: --label=site: label site has no value\nhint: "},
		{"init --cluster=c --tenant=t --from=missing.yml", "error: cannot read the configuration: open missing.yml: no such file or directory\nhint: name a file that can be read with --from\n"},
	} {
		stdout, stderr, code := runCommand(t, dir, strings.Fields(tc.args)...)
		if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, tc.want) {
			t.Errorf("%s: code %d, %q, %q", tc.args, code, stdout, stderr)
		}
	}
}

// TestServiceReadsItsSecrets: root closes the service's file to others, and the
// service's group can still read it.
func TestServiceReadsItsSecrets(t *testing.T) {
	const group = "nogroup"
	g, err := user.LookupGroup(group)
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root, and a group of others:", err)
	}
	file, err := os.OpenFile(write(t, filepath.Join(t.TempDir(), "c.yml"), ""), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	notes, err := closeToOthers(file, group)
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "group "+group+" may read it (mode 0640)") {
		t.Errorf("%q, %v", notes, err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); strconv.Itoa(int(stat.Gid)) != g.Gid || stat.Uid != 0 || info.Mode().Perm() != 0o640 {
		t.Errorf("%d:%d %v", stat.Uid, stat.Gid, info.Mode())
	}
}

// TestInitClosesSecrets: what holds a password is never written readable for all, and
// init says so; nor is it where what was there before was.
func TestInitClosesSecrets(t *testing.T) {
	dir := t.TempDir()
	const inline = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: pl4nted}\n"
	args := []string{"init", "--cluster=c", "--tenant=t", "--token-file=token", "--force", "--from=from.yml"}
	write(t, filepath.Join(dir, "token"), "token")
	for name, tc := range map[string]struct {
		from             string
		of, before, want os.FileMode // before 0: it is not there
		note             bool
	}{
		"over one that all may read":    {inline, 0o600, 0o644, 0o640, true},
		"over one for the owner":        {inline, 0o644, 0o600, 0o600, true},
		"from one that all may read":    {inline, 0o644, 0, 0o640, true},
		"no secret, over one for all":   {"scrape_configs: [{job_name: a}]\n", 0o600, 0o644, 0o644, false},
		"no secret, from one for all":   {"scrape_configs: [{job_name: a}]\n", 0o644, 0, 0o644, false},
		"no secret, from one's owner's": {"scrape_configs: [{job_name: a}]\n", 0o600, 0, 0o600, false},
	} {
		out := filepath.Join(dir, "out.yml")
		if err := os.Remove(out); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := os.Chmod(write(t, filepath.Join(dir, "from.yml"), tc.from), tc.of); err != nil {
			t.Fatal(err)
		}
		if tc.before != 0 {
			if err := os.Chmod(write(t, out, strings.Repeat("# longer than what is written\n", 200)), tc.before); err != nil {
				t.Fatal(err)
			}
		}
		_, stderr, code := runCommand(t, dir, append(args, "-o", "out.yml")...)
		info, err := os.Stat(out)
		if code != 0 || err != nil || info.Mode().Perm() != tc.want {
			t.Errorf("%s: code %d, %v, %v, %q", name, code, err, info.Mode(), stderr)
		}
		if strings.Contains(stderr, "note: out.yml holds secrets: ") != tc.note {
			t.Errorf("%s: %q", name, stderr)
		}
		if text, err := os.ReadFile(out); err != nil || strings.Contains(string(text), "longer than") {
			t.Errorf("%s: the end of what was there before is left, %v", name, err)
		}
	}
}
