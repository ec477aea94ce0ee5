package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestAnotherLocalUser: a user of the host without rights reads nothing that the agent
// has on disk, in memory or in its environment, and neither stops nor reloads it by a
// signal; on loopback it sees what everybody does, which has no secret.
func TestAnotherLocalUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be two others")
	}
	const service, other, secret = 65534, 65533, "pl4nted"
	e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": secret}})
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	token, data := write(t, filepath.Join(dir, "token"), secret), filepath.Join(dir, "data")
	file := write(t, filepath.Join(dir, "c.yml"), strings.Replace(configWith("first"), "- {name: dead, url: \"http://127.0.0.1:1/push\"}", fmt.Sprintf("- {name: good, url: %q, bearer_token_file: %s, queue_config: {batch_send_deadline: 100ms}}", e.URL(), token), 1)+
		"  basic_auth: {username: u, password: "+secret+"}\n")
	// Not by this process: what it forks meanwhile would hold the copy open for writing.
	program := filepath.Join(dir, "agent")
	if out, err := exec.Command("install", "-m", "755", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, service, service))
	})
	if err := errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := command(context.Background(), "--config.file="+file, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0")
	cmd.Path, cmd.Dir, cmd.Env = program, dir, append(cmd.Env, "SECRET="+secret)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: service, Gid: service}}
	r := startCommand(t, cmd)
	r.eventually("it delivers", func() bool { return e.Snapshot().Accepted > 0 })

	// as runs a shell command as somebody, and reports whether it could do that.
	as := func(uid uint32, script string) bool {
		c := exec.Command("sh", "-c", script)
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		return c.Run() == nil
	}
	pid := r.cmd.Process.Pid
	for what, script := range map[string]string{
		"the token":         "cat " + token,
		"the configuration": "cat " + file,
		"the backlog":       "ls " + data,
		"the marks":         "cat " + data + "/delivery.json",
		"the environment":   fmt.Sprintf("cat /proc/%d/environ", pid),
		"open files":        fmt.Sprintf("ls /proc/%d/fd/", pid),
		"the memory's map":  fmt.Sprintf("cat /proc/%d/maps", pid),
	} {
		if as(other, script) {
			t.Errorf("%s can be read by another user", what)
		}
		if !as(service, script) {
			t.Errorf("%s cannot be read by its own user: this shows nothing", what)
		}
	}
	for _, signal := range []string{"TERM", "KILL", "HUP", "STOP", "0"} {
		if as(other, fmt.Sprintf("kill -%s %d", signal, pid)) {
			t.Errorf("another user sends SIG%s", signal)
		}
	}
	for _, path := range []string{"/", "/metrics", "/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/delivery", "/api/v1/targets", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		if code, body := r.get(path); code != 200 || strings.Contains(body, secret) {
			t.Errorf("%s: %d, or a secret", path, code)
		}
	}
}
