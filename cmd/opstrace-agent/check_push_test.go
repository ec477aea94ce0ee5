package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

func newEndpoint(t *testing.T, o agenttest.Options) *agenttest.Endpoint {
	t.Helper()
	e, err := agenttest.NewEndpoint(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// TestCheckPush has a destination that takes everything and one that refuses
// the token, both by the file that run would read.
func TestCheckPush(t *testing.T) {
	e := newEndpoint(t, agenttest.Options{Tokens: map[string]string{"default": "good"}})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), string(e.CA()))
	write(t, filepath.Join(dir, "good"), "good\n")
	write(t, filepath.Join(dir, "bad"), "bad\n")
	destination := func(name string) string {
		return fmt.Sprintf(`
- name: %s
  url: %s?tenant=s3cret
  bearer_token_file: %[1]s
  tls_config: {ca_file: ca.pem}
`, name, e.URL())
	}
	write(t, filepath.Join(dir, "opstrace-agent.yml"), "remote_write:"+destination("good")+destination("bad"))
	stdout, stderr, code := runCommand(t, dir, "check", "push")
	if code != exitFailed || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_push.golden", stdout, dir, "DIR")

	good := write(t, filepath.Join(dir, "good.yml"), "remote_write:"+destination("good"))
	stdout, stderr, code = runCommand(t, "", "check", "push", good)
	if code != 0 || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_push_good.golden", stdout, dir, "DIR")

	if s := e.Snapshot(); s.StoredSeries != 0 || len(s.Requests) != 3 {
		t.Errorf("got %s", s)
	}
	if s := e.Snapshot(); s.Requests[0].Bytes != 1 {
		t.Errorf("got %d bytes", s.Requests[0].Bytes)
	}

	stdout, stderr, code = runCommand(t, "", "check", "push", "--write", good)
	if s := e.Snapshot(); code != 0 || stderr != "" || !strings.Contains(stdout, "ok    sample  one sample of {__name__=\"opstrace_agent_check\"") || s.StoredSeries != 1 {
		t.Errorf("code %d, %q\n%s\n%s", code, stderr, stdout, s)
	}
}

// TestCheckPushOneVerdict: a token that is missing is one failed step and one verdict,
// and no second error with a hint of its own.
func TestCheckPushOneVerdict(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "c.yml"), "remote_write: [{name: a, url: 'http://127.0.0.1:1/push', bearer_token_file: none}]\n")
	args := []string{"check", "push", file}
	if _, err := user.Lookup("nobody"); err == nil && os.Geteuid() == 0 {
		args = append(args, "--as=nobody")
	}
	stdout, stderr, code := runCommand(t, dir, args...)
	if code != exitFailed || stderr != "" || strings.Count(stdout, "hint: ") != 1 || !strings.HasSuffix(stdout, "1 of 1 destination: samples would not be accepted\n") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
}

func TestCheckPushNowhere(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "c.yml"), "global: {}\n")
	stdout, stderr, code := runCommand(t, "", "check", "push", file)
	want := "error: " + file + " has no destination\nhint: add an opstrace: section; 'opstrace-agent init' writes one\n"
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}
