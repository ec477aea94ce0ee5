package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopTimeout is more than an agent takes to leave.
const stopTimeout = 10 * time.Second

// process is a child with its output in a file.
type process struct {
	name string // in messages
	path string
	args []string
	log  string // file

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, once done
}

func (p *process) start() error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close()
	p.done = make(chan struct{})
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = childAttributes()
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return fmt.Errorf("cannot start the %s: %w", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		if p.err == nil {
			p.err = fmt.Errorf("exit status 0")
		}
		close(p.done)
	}()
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
