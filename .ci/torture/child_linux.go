package main

import "syscall"

// childAttributes keep Ctrl-C from the children, which are stopped in order,
// and end them when this process is killed. apart: they see mounts of their own.
func childAttributes(apart bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if apart {
		a.Unshareflags = syscall.CLONE_NEWNS
	}
	return a
}
