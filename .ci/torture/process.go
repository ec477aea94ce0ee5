package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is more than an agent takes to leave.
const stopTimeout = 15 * time.Second

// process is the agent, with its output in a file. It may be killed and started again.
type process struct {
	name   string
	args   []string
	env    []string // beside that of this process
	log    string   // file
	before []string // a command that runs it, and sees mounts of its own

	mu      sync.Mutex
	path    string
	cmd     *exec.Cmd // nil: it is meant not to run
	starts  []time.Time
	changed time.Time // a signal was sent, or it was started
	stopped bool      // by SIGSTOP
	done    chan struct{}
	exits   []exit
}

// exit is an end of the process.
type exit struct {
	who   string
	at    time.Time
	after string // what was done to end it; empty: nothing was
	code  int    // -1: by a signal
	took  time.Duration
}

func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer log.Close()
	p.mu.Lock()
	command := slices.Concat(p.before, []string{p.path}, p.args)
	p.mu.Unlock()
	cmd, done := exec.Command(command[0], command[1:]...), make(chan struct{})
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes(len(p.before) > 0)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", p.name, err)
	}
	p.mu.Lock()
	p.cmd, p.done, p.changed = cmd, done, time.Now()
	p.starts = append(p.starts, p.changed)
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // the exit code is on record
		p.mu.Lock()
		if p.cmd == cmd {
			p.exits = append(p.exits, exit{who: p.name, at: time.Now(), code: cmd.ProcessState.ExitCode()})
			p.cmd = nil
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// running returns the process' id, 0 if it does not run or is stopped, and the last time
// that something was done to it.
func (p *process) running() (pid int, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.stopped {
		return 0, p.changed
	}
	return p.cmd.Process.Pid, p.changed
}

// pid is that of the process, stopped or not; 0 if it is meant not to run.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// without does something while the process does not run. If it did, it is killed for that,
// and started again.
func (p *process) without(do func() error) error {
	if p.pid() == 0 {
		return do()
	}
	if err := p.kill(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return p.start()
}

// is reports whether the process runs a program, or is to.
func (p *process) is(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.path == path
}

// become ends the process and starts another program in its place.
func (p *process) become(path string) error {
	if err := p.stop(); err != nil {
		return err
	}
	p.mu.Lock()
	p.path = path
	p.mu.Unlock()
	return p.start()
}

// take says that the process is meant to end now, and returns nil if it has.
func (p *process) take() (*exec.Cmd, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.cmd
	p.cmd, p.stopped, p.changed = nil, false, time.Now()
	return cmd, p.done
}

func (p *process) ended(e exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exits = append(p.exits, e)
}

// kill ends the process as the kernel does when memory is short.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop asks the process to end.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

func (p *process) end(signal syscall.Signal) error {
	cmd, done := p.take()
	if cmd == nil {
		return fmt.Errorf("%s has ended before it was told to", p.name)
	}
	begun := time.Now()
	if err := cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("cannot end %s: %w", p.name, err)
	}
	select {
	case <-done:
	case <-time.After(stopTimeout):
		// Its stacks tell where it hangs.
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-done
	}
	p.ended(exit{who: p.name, at: time.Now(), after: signal.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(begun)})
	return nil
}

// deaf is how long a process may take to ask for its signals: one that comes before ends
// it. systemd sends none until it is told that the service is ready.
const deaf = time.Second

// signal sends one that does not end the process; nothing happens while it is meant not
// to run.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	starts := p.starts
	p.mu.Unlock()
	if s == syscall.SIGHUP && len(starts) > 0 {
		time.Sleep(time.Until(starts[len(starts)-1].Add(deaf)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	switch s {
	case syscall.SIGSTOP:
		p.stopped = true
	case syscall.SIGCONT:
		p.stopped = false
	}
	p.changed = time.Now()
	return p.cmd.Process.Signal(s)
}

// close ends the process whatever it does.
func (p *process) close() {
	if cmd, done := p.take(); cmd != nil {
		_ = cmd.Process.Kill()
		<-done
	}
}
