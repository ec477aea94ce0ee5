package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestReloadCommand: the command says what it did, wherever it was told to ask.
func TestReloadCommand(t *testing.T) {
	t.Parallel()
	r, file := startWith(t, nil)
	good := fmt.Sprintf("The agent at %s has read its configuration again, which is in force now.\n", r.url)
	write(t, file, configWith("second"))
	stdout, stderr, code := runCommand(t, "", "reload", "--url="+r.url)
	if code != 0 || stdout != good || stderr != "" {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	r.eventually("the second configuration is in force", func() bool { return r.hasPool("second") })
	stdout, stderr, code = runCommand(t, "", "reload", "--", "--web.listen-address="+strings.TrimPrefix(r.url, "http://"))
	if code != 0 || stdout != good || stderr != "" {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}

	const fixed = "The collectors of this host are not those of the configuration: they change at a restart only"
	waits := fmt.Sprintf("The agent at %s has read its configuration again. %s\nhint: restart the agent: sudo systemctl restart opstrace-agent\n", r.url, fixed)
	for _, c := range []struct{ config, want string }{
		{"host: {collectors: {cpu: true}}\n", good},
		{"host: {collectors: {cpu: false}}\n", waits},
		{"host: {collectors: {cpu: true}}\n", good},
	} {
		write(t, file, configWith("third")+c.config)
		stdout, stderr, code = runCommand(t, "", "reload", "--url="+r.url)
		if code != 0 || stdout != c.want || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", c.config, code, stdout, stderr)
		}
		stdout, _, _ = runCommand(t, "", "status", "--url="+r.url)
		if strings.Contains(stdout, fixed) != (c.want == waits) {
			t.Errorf("%s: status says %s", c.config, stdout)
		}
	}

	write(t, file, "rule_files: [a.yml]\n")
	stdout, stderr, code = runCommand(t, "", "reload", "--url="+r.url)
	if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "error: failed to reload config: "+file+":1: field rule_files is not allowed in agent mode\nhint: ") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}

	stdout, stderr, code = runCommand(t, "", "reload", "--url=http://127.0.0.1:1")
	if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "error: the agent does not answer over HTTP: ") || !strings.Contains(stderr, "\nhint: name its address with --url, ") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	if _, stderr, code = runCommand(t, "", "reload", "--url=host"); code != exitUsage || !strings.HasPrefix(stderr, "error: --url=host is not an http or https URL\nhint: ") {
		t.Errorf("code %d, %q", code, stderr)
	}
}
