package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// disk is a file system of fixed size for what the agent keeps. Others fill it.
type disk struct {
	dir   string // where it is mounted
	taken []string
}

const (
	diskSize   = 64 << 20
	diskInodes = 256
)

// mountDisk mounts one in dir, from an image beside it.
func mountDisk(dir string) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("only root mounts file systems")
	}
	image := dir + ".ext4"
	if err := os.WriteFile(image, nil, 0o640); err != nil {
		return nil, err
	}
	if err := os.Truncate(image, diskSize); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	for _, command := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-N", fmt.Sprint(diskInodes), image},
		{"mount", "-o", "loop,errors=remount-ro", image, dir},
	} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
		}
	}
	return &disk{dir: dir}, nil
}

// fill leaves no byte.
func (d *disk) fill() error {
	path := filepath.Join(d.dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	d.taken = append(d.taken, path)
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 4
		}
	}
	return nil
}

// takeInodes leaves no inode.
func (d *disk) takeInodes() error {
	for i := range diskInodes {
		path := filepath.Join(d.dir, fmt.Sprintf("taken-%d", i))
		f, err := os.Create(path)
		if err != nil {
			return nil
		}
		f.Close()
		d.taken = append(d.taken, path)
	}
	return nil
}

// free gives back what was taken.
func (d *disk) free() error {
	for _, path := range d.taken {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	d.taken = nil
	return nil
}

func (d *disk) close() { _ = syscall.Unmount(d.dir, syscall.MNT_DETACH) }

// onDisk reports whether a schedule has something to do with a disk.
func onDisk(s schedule) bool {
	return slices.ContainsFunc(s.events, func(e event) bool {
		return slices.ContainsFunc(ofDisk, func(m manner) bool { return m.kind == e.kind })
	})
}
