package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/opstrace/opstrace-agent/agent/agenttest/cutdisk"
)

// disk is a file system of fixed size for what the agent keeps. Others fill it, and its
// device breaks.
type disk struct {
	dir      string // where it is mounted
	device   *cutdisk.Disk
	noDevice string // why it has none that breaks: then it is in a file
	taken    []string
	useless  bool // nothing can be written
}

const (
	diskSize   = 64 << 20
	diskInodes = 256
)

// mountDisk mounts one in dir; what is under it lies beside that.
func mountDisk(dir string) (*disk, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("only root mounts file systems")
	}
	image, err := cutdisk.Format(diskSize, "mkfs.ext4", "-q", "-F", "-m", "0", "-N", fmt.Sprint(diskInodes))
	if err != nil {
		return nil, err
	}
	for _, needed := range []string{dir, dir + ".device"} {
		if err := os.MkdirAll(needed, 0o750); err != nil {
			return nil, err
		}
	}
	d := &disk{dir: dir}
	if d.device, err = cutdisk.New(dir+".device", image); err == nil {
		d.device.Forget()
		if err := d.mount(); err != nil {
			return nil, errors.Join(err, d.device.Close())
		}
		return d, nil
	}
	d.noDevice = err.Error()
	if err := os.WriteFile(dir+".ext4", image, 0o640); err != nil {
		return nil, err
	}
	return d, command("mount", "-o", "loop,errors=remount-ro", dir+".ext4", dir)
}

// command runs one, and says in its own words what is wrong.
func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (d *disk) mount() error {
	return command("mount", "-o", "errors=remount-ro", d.device.Device, d.dir)
}

// remount makes the disk one that can be read only ("ro"), or written as well ("rw").
func (d *disk) remount(how string) error {
	return cutdisk.WhileBusy(func() error { return command("mount", "-o", "remount,"+how, d.dir) })
}

// mend has the device work again and checks it, as a boot does. Nobody may use it.
func (d *disk) mend() error {
	if err := cutdisk.WhileBusy(func() error { return syscall.Unmount(d.dir, 0) }); err != nil {
		return fmt.Errorf("cannot unmount %s: %w", d.dir, err)
	}
	d.device.Fail(false)
	// What the kernel has read of the device is of before.
	if err := command("blockdev", "--flushbufs", d.device.Device); err != nil {
		return err
	}
	err := cutdisk.WhileBusy(func() error {
		err := command("e2fsck", "-fy", d.device.Device)
		const corrected, boot = 1, 2
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() <= corrected|boot {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.mount()
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

func (d *disk) close() {
	if d.device == nil {
		_ = syscall.Unmount(d.dir, syscall.MNT_DETACH)
		return
	}
	d.device.Fail(false)
	_ = cutdisk.WhileBusy(func() error { return syscall.Unmount(d.dir, 0) })
	_ = d.device.Close()
}

// has reports whether a schedule has something of some manners.
func has(s schedule, of []manner) bool {
	return slices.ContainsFunc(s.events, func(e event) bool {
		return slices.ContainsFunc(of, func(m manner) bool { return m.kind == e.kind })
	})
}
