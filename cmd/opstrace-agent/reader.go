package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
)

// reader is a user as whom files are read; without a name, the one who asks.
type reader struct {
	name     string
	uid, gid int
	groups   []int
}

// readerOf returns the user of that name. Without one it is the service's where
// root asks, on a host with the service below root. Errors are a *usageError.
func readerOf(name, root string) (reader, error) {
	if name == "" && (os.Geteuid() != 0 || !isInstalled(root)) {
		return reader{}, nil
	}
	byDefault := name == ""
	if byDefault {
		name = serviceUser
	}
	u, err := user.Lookup(name)
	if missing := user.UnknownUserError(""); byDefault && errors.As(err, &missing) {
		return reader{}, nil
	}
	if err != nil {
		return reader{}, &usageError{"--as=" + name + ": " + err.Error(), "name the user who runs the agent"}
	}
	r := reader{name: name}
	if r.uid, err = strconv.Atoi(u.Uid); err != nil {
		return reader{}, fmt.Errorf("user %s: %w", name, err)
	}
	if r.gid, err = strconv.Atoi(u.Gid); err != nil {
		return reader{}, fmt.Errorf("user %s: %w", name, err)
	}
	if r.uid == os.Geteuid() {
		return reader{}, nil
	}
	if os.Geteuid() != 0 {
		return reader{}, &usageError{"--as=" + name + ": only root can read as somebody else", "run it with sudo"}
	}
	ids, err := u.GroupIds()
	if err != nil {
		return reader{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			r.groups = append(r.groups, n)
		}
	}
	return r, nil
}

// do calls read with the rights of the user to files. Only the thread that it runs
// on has them, and it ends with it; the groups are those of the whole process
// meanwhile.
func (r reader) do(read func()) error {
	if r.name == "" {
		read()
		return nil
	}
	before, err := syscall.Getgroups()
	if err != nil {
		return fmt.Errorf("cannot read as user %s: %w", r.name, err)
	}
	if err := syscall.Setgroups(r.groups); err != nil {
		return fmt.Errorf("cannot read as user %s: %w", r.name, err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread must not serve others
		err := errors.Join(syscall.Setfsgid(r.gid), syscall.Setfsuid(r.uid))
		if err == nil {
			read()
		}
		done <- err
	}()
	return errors.Join(<-done, syscall.Setgroups(before))
}
