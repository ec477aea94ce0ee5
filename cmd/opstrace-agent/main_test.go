package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// asCommand in the environment makes the test binary the command itself.
	asCommand = "OPSTRACE_AGENT_TEST_AS_COMMAND"
	patience  = 30 * time.Second
)

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		if file := os.Getenv(settableClock); file != "" {
			if err := followClock(file); err != nil {
				fmt.Fprintln(os.Stderr, "cannot make the clock settable:", err)
				os.Exit(1)
			}
		}
		main()
		return
	}
	os.Exit(m.Run())
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCommand+"=1")
	return cmd
}

// runCommand runs a command that ends by itself.
func runCommand(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// running is an agent in a process of its own.
type running struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *syncBuffer
	url  string
	done chan struct{}
}

type syncBuffer struct {
	mtx sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mtx.Lock()
	defer b.mtx.Unlock()
	return b.buf.String()
}

var listening = regexp.MustCompile(`msg="Listening on" address=(\S+)|"address":"([^"]+)".*"msg":"Listening on"`)

// start runs an agent until it is ready. It is killed when the test ends.
func start(t *testing.T, env []string, args ...string) *running {
	t.Helper()
	cmd := command(context.Background(), args...)
	cmd.Env = append(cmd.Env, env...)
	return startCommand(t, cmd)
}

// startCommand is start for a command that is an agent in the end.
func startCommand(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{t: t, cmd: cmd, log: &syncBuffer{}, done: make(chan struct{})}
	r.cmd.Stderr = r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.cmd.Wait() // the exit code is looked at by those who expect one
		close(r.done)
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		<-r.done
		if t.Failed() {
			t.Logf("the agent's log:\n%s", r.log)
		}
	})
	r.awaitReady()
	return r
}

// awaitReady learns where the agent listens, and waits until it is ready.
func (r *running) awaitReady() {
	r.t.Helper()
	r.eventually("it listens", func() bool {
		m := listening.FindStringSubmatch(r.log.String())
		if m != nil {
			r.url = "http://" + m[1] + m[2]
		}
		return m != nil
	})
	r.eventually("it is ready", func() bool {
		code, _ := r.get("/-/ready")
		return code == http.StatusOK
	})
}

// awaitLog waits until the log tells something: what the agent has logged comes through a
// pipe, perhaps behind what it has answered.
func (r *running) awaitLog(text string) {
	r.t.Helper()
	r.eventually("the log tells: "+text, func() bool { return strings.Contains(r.log.String(), text) })
}

func (r *running) eventually(what string, cond func() bool) {
	r.t.Helper()
	r.within(patience, what, cond)
}

func (r *running) within(d time.Duration, what string, cond func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(d)
	for !cond() {
		select {
		case <-r.done:
			r.t.Fatalf("the agent ended before %s, with code %d", what, r.cmd.ProcessState.ExitCode())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("not within %s: %s", d, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// client does not wait for ever: an agent that hangs is a failure, not a hung test.
var client = &http.Client{Timeout: patience}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	return r.request(http.MethodGet, path)
}

func (r *running) request(method, path string) (int, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// metric returns the value of a series as /metrics writes it, "" if there is none.
func (r *running) metric(series string) string {
	r.t.Helper()
	_, body := r.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// wait returns the exit code and how long it took.
func (r *running) wait() (int, time.Duration) {
	r.t.Helper()
	begin := time.Now()
	select {
	case <-r.done:
	case <-time.After(patience):
		r.t.Fatalf("still running after %s", patience)
	}
	return r.cmd.ProcessState.ExitCode(), time.Since(begin)
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
