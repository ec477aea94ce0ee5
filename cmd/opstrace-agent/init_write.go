package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/configcheck"
)

// otherUsers are the bits of a mode that concern neither a file's owner nor its group.
const otherUsers = 0o007

// writeConfig writes the file of --output. One that holds secrets is closed to others
// before it holds them, whatever it was before, and a note says so. The service's file
// gets the service's group then, so that the service can read it.
func (f *initFlags) writeConfig(text []byte, root string) (notes []string, err error) {
	mode := os.O_CREATE | os.O_WRONLY
	if !f.force {
		mode |= os.O_EXCL
	}
	perm := fs.FileMode(0o644) // root writes it, and the service's user has to read it
	if info, err := os.Stat(f.from); err == nil {
		perm &= info.Mode().Perm() // there may be passwords in it
	}
	secret := configcheck.HoldsSecret(text)
	if secret {
		perm &^= otherUsers
	}
	file, err := os.OpenFile(f.output, mode, perm)
	if errors.Is(err, fs.ErrExist) {
		return nil, &usageError{f.output + " exists", "name another file, or overwrite it with --force"}
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if secret {
		group := ""
		if isService(f.output, root) {
			group = serviceUser
		}
		if notes, err = closeToOthers(file, group); err != nil {
			return nil, fmt.Errorf("cannot close %s to other users, and it would hold secrets: %w", f.output, err)
		}
	}
	// Only now: what is refused leaves the file as it was. A pipe or a device has no length.
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		if err := file.Truncate(0); err != nil {
			return nil, err
		}
	}
	_, err = file.Write(text)
	return notes, err
}

// closeToOthers takes the rights of others to a file away. Where root asks, it gives
// the file to a group that may read it, if there is that group; empty: it keeps its own.
func closeToOthers(file *os.File, group string) (notes []string, err error) {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	mode := info.Mode().Perm() &^ otherUsers
	if g, err := user.LookupGroup(group); err == nil && os.Geteuid() == 0 {
		gid, err := strconv.Atoi(g.Gid)
		if err != nil {
			return nil, err
		}
		if err := file.Chown(-1, gid); err != nil {
			return nil, err
		}
		mode |= 0o040
	}
	if mode != info.Mode().Perm() {
		if err := file.Chmod(mode); err != nil {
			return nil, err
		}
	}
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	who := "its owner alone may read it"
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && mode&0o040 != 0 {
		who = "only its owner and group " + groupName(int(stat.Gid)) + " may read it"
	}
	return []string{fmt.Sprintf("%s holds secrets: %s (mode %04o)", file.Name(), who, mode)}, nil
}

// groupName is the name of a group, and where there is none the number.
func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}
