package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	// stopTimeout is more than any of them takes to give up a dead endpoint.
	stopTimeout = 3 * time.Minute
	tailLines   = 5
)

// process is a running child with its output in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// startProcess starts a child.
func startProcess(path string, args []string, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(path, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = childAttributes()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // its exit code is asked for where it matters
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// awaitReady waits until url answers 200.
func (p *process) awaitReady(ctx context.Context, url string) error {
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	ready := func() bool {
		resp, err := client.Get(url)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	due := time.Now().Add(startTimeout)
	for !ready() {
		if time.Now().After(due) {
			return fmt.Errorf("not ready after %s; the end of its log:\n%s", startTimeout, p.tail())
		}
		if err := p.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// sleep returns early, with an error, if the process or ctx ends.
func (p *process) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.done:
		return fmt.Errorf("it ended by itself: %s; the end of its log:\n%s", p.cmd.ProcessState, p.tail())
	}
}

// stop asks the process to end, kills it if it does not within stopTimeout or ctx, and
// returns how long it took.
func (p *process) stop(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	select {
	case <-p.done:
		return 0, fmt.Errorf("it had ended by itself: %s", p.cmd.ProcessState)
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-p.done:
		return time.Since(begun), nil
	case <-ctx.Done():
		p.kill()
		return 0, fmt.Errorf("it had to be killed after %s", time.Since(begun).Round(time.Second))
	}
}

// kill ends the process, if it has not ended yet.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// tail is the end of the log.
func (p *process) tail() []byte {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	lines := bytes.SplitAfter(bytes.TrimSpace(content), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-tailLines):], nil)
}

// freeAddress is one on loopback where nobody listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
