package main

import (
	"io/fs"
	"syscall"
)

// childAttributes keep Ctrl-C from the children, which are stopped in order,
// and end them when this process is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// onDisk is what a file takes, which for a sparse one is less than its length.
func onDisk(info fs.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
