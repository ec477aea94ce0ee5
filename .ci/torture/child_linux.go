package main

import "syscall"

// childAttributes keep Ctrl-C from the children, which are stopped in order,
// and end them when this process is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
