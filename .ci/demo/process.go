package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// stopTimeout is more than an agent takes to leave.
	stopTimeout = 10 * time.Second
	tailLines   = 20
)

// process is a child with its output in a file. It may be killed and started again.
type process struct {
	name string // in messages
	path string
	args []string
	log  string // file

	cmd     *exec.Cmd     // nil: it does not run
	started bool          // at least once
	done    chan struct{} // closed when it has ended
	err     error         // how, once done
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd, done := exec.Command(p.path, p.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the %s: %w", p.name, err)
	}
	p.cmd, p.done, p.started = cmd, done, true
	go func() {
		p.err = cmd.Wait()
		if p.err == nil {
			p.err = errors.New("exit status 0")
		}
		close(done)
	}()
	return nil
}

// ended is closed when the process has ended by itself; nil, which blocks for ever,
// while it is meant not to run.
func (p *process) ended() <-chan struct{} {
	if p.cmd == nil {
		return nil
	}
	return p.done
}

// kill ends the process as the kernel does when memory is short.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("cannot kill the %s: %w", p.name, err)
	}
	<-p.done
	p.cmd = nil
	return nil
}

// stop asks the process to end, and makes it.
func (p *process) stop() error {
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("cannot stop the %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("the %s had to be killed", p.name)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the %s ended with exit code %d", p.name, code)
	}
	return nil
}

// tail is the end of the log; empty if it never ran.
func (p *process) tail() []byte {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-tailLines):], nil)
}
