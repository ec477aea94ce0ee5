//go:build !linux

package main

import (
	"io/fs"
	"syscall"
)

// childAttributes keep Ctrl-C from the children, which are stopped in order.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func onDisk(info fs.FileInfo) int64 { return info.Size() }
