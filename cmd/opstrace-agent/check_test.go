package main

import (
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// TestCheckSense: what is valid and not meant, by the two checks that need no
// target.
func TestCheckSense(t *testing.T) {
	t.Setenv("HOSTNAME", "") // as in a shell, which keeps it to itself
	e := newEndpoint(t, agenttest.Options{Tokens: map[string]string{"default": "good"}})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(e.CA()))
	write(t, filepath.Join(dir, "token"), "good\n")
	configuration := func(labels string) string {
		return `global: {external_labels: {` + labels + `}}
scrape_configs:
- job_name: node
  static_configs: [{targets: ['127.0.0.1:9100']}]
remote_write:
- url: ` + e.URL() + `
  bearer_token_file: token
  tls_config: {ca_file: ca.pem}
`
	}
	write(t, filepath.Join(dir, "twins.yml"), configuration(""))
	write(t, filepath.Join(dir, "named.yml"), configuration("host: '${HOSTNAME}'"))
	write(t, filepath.Join(dir, "hyphen.yml"), configuration("site-id: berlin-7, host: '${HOSTNAME}'"))
	const (
		twins  = "twins.yml: two hosts with this file could not be told apart: both would send the series of 127.0.0.1:9100 (job node) with the same labels, and one of them is refused\n      hint: "
		hyphen = "error: hyphen.yml:1: \"site-id\" is not the name of a label that an Opstrace tenant takes: letters, digits and _ only\nhint: rename it"
	)
	for _, check := range []string{"config", "push"} {
		stdout, stderr, code := runCommand(t, dir, "check", check, "twins.yml")
		if code != 0 || stderr != "" || strings.Count(stdout, twins) != 1 {
			t.Errorf("%s: code %d, %q\n%s", check, code, stderr, stdout)
		}
		stdout, stderr, code = runCommand(t, dir, "check", check, "named.yml")
		if code != 0 || stderr != "" || strings.Contains(stdout, "hosts") {
			t.Errorf("%s: code %d, %q\n%s", check, code, stderr, stdout)
		}
		stdout, stderr, code = runCommand(t, dir, "check", check, "hyphen.yml")
		if code != exitUsage || !strings.HasPrefix(stderr, hyphen) || strings.Contains(stdout, "would be accepted") {
			t.Errorf("%s: code %d, %q\n%s", check, code, stderr, stdout)
		}
	}
}

// TestCheckTellsAll: a file that is missing hides nothing else.
func TestCheckTellsAll(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "c.yml"), "global: {external_labels: {site-id: x}}\nopstrace: {cluster: c, tenant: t, token_file: none}\nscrape_configs: [{job_name: a}]\n")
	stdout, stderr, code := runCommand(t, dir, "check", "config", "c.yml")
	want := "error: c.yml:2: token_file: open none: no such file or directory\n" +
		"error: c.yml:1: \"site-id\" is not the name of a label that an Opstrace tenant takes: letters, digits and _ only\nhint: create the file "
	if code != exitUsage || !strings.HasPrefix(stderr, want) || strings.Contains(stdout, "is valid") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
}

// TestCheckBodySize: what the agent warns of at its start, the check tells.
func TestCheckBodySize(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "c.yml"), "global: {external_labels: {host: a}}\nscrape_configs: [{job_name: a, body_size_limit: 16MB}]\nremote_write: [{url: 'http://127.0.0.1:1/'}]\n")
	stdout, stderr, code := runCommand(t, "", "check", "config", file)
	if code != 0 || stderr != "" || !strings.Contains(stdout, "note: body_size_limit of job \"a\" is 16MiB: above 15MiB ") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
}

func TestCheckEmpty(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty.yml"), "")
	write(t, filepath.Join(dir, "nowhere.yml"), "scrape_configs: [{job_name: a}]\n")
	stdout, stderr, code := runCommand(t, dir, "check", "config", "nowhere.yml")
	if code != 0 || stderr != "" || !strings.Contains(stdout, "note: nowhere.yml: no destination: what is scraped is sent nowhere\n") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
	stdout, stderr, code = runCommand(t, dir, "check", "config", "empty.yml")
	if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "error: empty.yml: the file is empty: nothing is scraped, and nothing is sent\nhint: ") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
}

// TestCheckAs: a file that root can read, and the user who runs the agent cannot.
func TestCheckAs(t *testing.T) {
	nobody, err := user.Lookup("nobody")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("needs root, and a user nobody:", err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	token := write(t, filepath.Join(dir, "token"), "t")
	file := write(t, filepath.Join(dir, "c.yml"), "opstrace: {cluster: c, tenant: t, token_file: token}\nscrape_configs: [{job_name: a}]\n")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(wantCode int, wantErr string, args ...string) {
		t.Helper()
		stdout, stderr, code := runCommand(t, dir, append([]string{"check", "config", file}, args...)...)
		if code != wantCode || !strings.HasPrefix(stderr, wantErr) || wantErr == "" && stderr != "" {
			t.Errorf("%q: code %d, %q\n%s", args, code, stderr, stdout)
		}
	}
	check(0, "")
	stdout, stderr, code := runCommand(t, dir, "check", "push", "--as=nobody", write(t, filepath.Join(dir, "push.yml"), "remote_write: [{name: a, url: 'http://127.0.0.1:1/push', bearer_token_file: token}]\n"))
	verdict := "1 of 1 destination: samples would not be accepted\n"
	if code != exitFailed || stderr != "" || !strings.HasSuffix(stdout, verdict) || strings.Contains(stdout, " ok ") ||
		!strings.Contains(stdout, "  FAIL  token   open "+token+": permission denied\n                hint: let user nobody, who runs the agent, read it: ") {
		t.Errorf("check push: code %d, %q\n%s", code, stderr, stdout)
	}
	check(exitUsage, "error: "+file+":1: token_file: open "+token+": permission denied\nhint: let user nobody, who runs the agent, read it: ", "--as=nobody")
	check(exitUsage, "error: --as=nosuchuser: user: unknown user nosuchuser\nhint: ", "--as=nosuchuser")
	gid, err := strconv.Atoi(nobody.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(token, 0, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(token, 0o640); err != nil {
		t.Fatal(err)
	}
	check(0, "", "--as=nobody")
}

// TestCheckAsAnybody: a user who may not read the token is not told that it is not
// there, or that the agent could not read it.
func TestCheckAsAnybody(t *testing.T) {
	dir := t.TempDir()
	token := write(t, filepath.Join(dir, "token"), "t")
	if err := os.Chmod(token, 0); err != nil {
		t.Fatal(err)
	}
	ask := reader{}
	if os.Geteuid() == 0 {
		ask = reader{name: "anybody", uid: 65534, gid: 65534}
	}
	var unreadable *usageError
	if err := ask.do(func() {
		unreadable, _ = checkFiles(io.Discard, []scrapeconfig.FileRef{{Field: "token_file", Path: token}}, reader{})
	}); err != nil {
		t.Fatal(err)
	}
	if unreadable == nil || !strings.Contains(unreadable.msg, "permission denied") || !strings.Contains(unreadable.hint, "for the installed service, with sudo") {
		t.Errorf("got %+v", unreadable)
	}
}

// TestServiceFile: what the packaged service reads, by its unit and its flags.
func TestServiceFile(t *testing.T) {
	for name, tc := range map[string]struct {
		defaults string
		want     string
	}{
		"no file":       {"", serviceConfig},
		"other flags":   {"ARGS=\"--log.level=debug\"\n", serviceConfig},
		"another file":  {"# ARGS=--config.file=/no\nARGS=\"--log.level=debug --config.file=/etc/agent.yml\"\n", "/etc/agent.yml"},
		"two words":     {"ARGS='--config.file /etc/agent.yml'\n", "/etc/agent.yml"},
		"the last line": {"ARGS=--config.file=/a\nARGS=--config.file=/b --config.file=/c\n", "/c"},
	} {
		root := t.TempDir()
		if isInstalled(root) {
			t.Fatal("a service is in an empty folder")
		}
		write(t, filepath.Join(root, serviceUnits[0]), "")
		if tc.defaults != "" {
			write(t, filepath.Join(root, serviceFlags), tc.defaults)
		}
		none := ""
		f := configFile{arg: &none, flag: &none, def: filepath.Join(root, "opstrace-agent.yml")}
		if got := f.path(root); !isInstalled(root) || got != strings.Replace(tc.want, serviceConfig, root+serviceConfig, 1) {
			t.Errorf("%s: got %s", name, got)
		}
		write(t, f.def, "")
		if got := f.path(root); got != f.def {
			t.Errorf("%s: got %s, though run would read the one in this folder", name, got)
		}
		named := "x.yml"
		if got := (configFile{arg: &none, flag: &named, def: f.def}).path(root); got != named {
			t.Errorf("%s: got %s", name, got)
		}
	}
}
