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

// TestModesOfFiles: whatever umask the process was given, nobody but its user and group
// may read what it creates, and nobody but its user may write it.
func TestModesOfFiles(t *testing.T) {
	t.Parallel()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer targets.Close()
	targets.Add("a", agenttest.TargetOptions{Series: 3})
	for _, umask := range []string{"000", "077"} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			data, failures := filepath.Join(dir, "data"), filepath.Join(dir, "failures.log")
			jobs := "scrape_configs:\n" + targets.ScrapeConfig("job", 100e6) +
				fmt.Sprintf("  - {job_name: down, scrape_failure_log_file: %s, scrape_interval: 100ms, scrape_timeout: 100ms, static_configs: [{targets: ['127.0.0.1:1']}]}\n", failures)
			file := write(t, filepath.Join(dir, "c.yml"), jobs+"remote_write: [{name: dead, url: 'http://127.0.0.1:1/push'}]\n")
			r := startUmask(t, umask, "--config.file="+file, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0")
			r.eventually("samples are stored", func() bool {
				n := r.metric(`opstrace_agent_delivery_backlog_samples{destination="dead"}`)
				info, err := os.Stat(failures)
				return n != "" && n != "0" && err == nil && info.Size() > 0
			})
			r.signal(syscall.SIGTERM)
			r.wait()
			r = startUmask(t, umask, "--config.file="+file, "--storage.agent.path="+data, "--web.listen-address=127.0.0.1:0") // a second generation
			r.eventually("there is a backlog", func() bool {
				found, _ := filepath.Glob(filepath.Join(data, "backlog", "*", "0*"))
				return len(found) > 1
			})
			r.signal(syscall.SIGTERM)
			r.wait()
			checkModes(t, data)
			checkModes(t, failures)
		})
	}
}

// startUmask is start with a umask.
func startUmask(t *testing.T, umask string, args ...string) *running {
	t.Helper()
	cmd := command(context.Background(), args...)
	underUmask(cmd, umask)
	return startCommand(t, cmd)
}

// underUmask has a command begin with a umask, which a process has as a whole.
func underUmask(cmd *exec.Cmd, umask string) {
	cmd.Args = append([]string{"sh", "-c", `umask "$0"; exec "$@"`, umask}, cmd.Args...)
	cmd.Path = "/bin/sh"
}

// checkModes finds what has more than 0750 or 0640.
func checkModes(t *testing.T, root string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		most := fs.FileMode(0o640)
		if e.IsDir() {
			most = 0o750
		} else {
			files++
		}
		if mode := info.Mode().Perm(); mode&^most != 0 {
			t.Errorf("%s has mode %04o", strings.TrimPrefix(path, filepath.Dir(root)), mode)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%s: %d files, %v", root, files, err)
	}
}

// TestModesOfInit: what init makes can be read by the service, but by nobody who may not
// read what it was made of, and be written by its owner alone, whatever the umask.
func TestModesOfInit(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		source, want fs.FileMode // 0: there is none
		job          string
	}{
		"new":                             {0, 0o644, ""},
		"from one that is closed":         {0o600, 0o600, ""},
		"from one that anybody may write": {0o666, 0o644, ""},
		"the same, with a password":       {0o666, 0o640, "  basic_auth: {username: u, password: p}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{"init", "--cluster=c", "--tenant=t", "-o", "agent.yml"}
			if tc.source != 0 {
				write(t, filepath.Join(dir, "prometheus.yml"), "scrape_configs:\n- job_name: a\n"+tc.job)
				args = append(args, "--from=prometheus.yml")
				if err := os.Chmod(filepath.Join(dir, "prometheus.yml"), tc.source); err != nil {
					t.Fatal(err)
				}
			}
			cmd := command(t.Context(), args...)
			underUmask(cmd, "000")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			info, err := os.Stat(filepath.Join(dir, "agent.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != tc.want {
				t.Errorf("%04o instead of %04o", got, tc.want)
			}
		})
	}
}
