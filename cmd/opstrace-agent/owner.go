package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// ownerOf is the user whose files are in the storage directory: the owner of the
// write-ahead log, and before there is one of the directory. known is false where
// there is no directory yet.
func ownerOf(storage string) (uid int, known bool) {
	for _, path := range []string{filepath.Join(storage, "wal"), storage} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return int(stat.Uid), true
		}
	}
	return 0, false
}

// refuseOwner returns why user uid must not run on the storage directory of another
// one: what root leaves there, that one can neither read nor link, and so would refuse
// every sample from its next start on. An empty directory has nobody who would, as the
// fresh volume of an image, but where the packaged service is to come.
func refuseOwner(uid int, storage string) error {
	owner, known := ownerOf(storage)
	switch {
	case uid != 0 || !known || owner == 0:
		return nil
	case !hasFilesOf(owner, storage) && !(isInstalled(installRoot) && userName(owner) == serviceUser):
		return nil
	case !leavesUnusable(owner, storage):
		return nil
	}
	return &usageError{
		fmt.Sprintf("%s belongs to user %s: what root leaves there, that user could not use", storage, userName(owner)),
		startAs(owner, storage),
	}
}

// hasFilesOf reports whether anything in a directory belongs to a user.
func hasFilesOf(uid int, dir string) bool {
	entries, _ := os.ReadDir(dir) // root that cannot is told by the start
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		info, err := os.Stat(filepath.Join(dir, e.Name())) // wal may be a link
		return err == nil && owns(uid, info)
	})
}

// leavesUnusable reports whether what this process leaves in a directory is not its
// owner's, which a file tells that is removed again: vfat and CIFS with uid=, and NFS with
// all_squash, give all files to one user, whoever makes them. Where none can be made for
// want of a permission, as with root_squash, nothing is left.
func leavesUnusable(owner int, dir string) bool {
	f, err := os.CreateTemp(dir, ".owner-")
	if err != nil {
		return !errors.Is(err, fs.ErrPermission)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	return err != nil || !owns(owner, info)
}

func owns(uid int, info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == uid
}

// deniedHint is what to do for user uid about a storage directory that it may not use;
// empty where err is another one.
func deniedHint(err error, uid int, storage string) string {
	if !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	const own = "name a directory of your own with --storage.agent.path"
	if owner, known := ownerOf(storage); known && owner != uid && owner != 0 {
		return startAs(owner, storage) + ", or " + own
	}
	return own + ", or give this one to the user that runs the agent, with chown -R"
}

// startAs tells how to start the agent as the owner of its storage directory.
func startAs(owner int, storage string) string {
	_, err := exec.LookPath("sudo")
	return startHint(owner, storage, isInstalled(installRoot) && userName(owner) == serviceUser, err == nil)
}

// startHint is startAs for a host where the packaged service is the owner's or not, and
// that has sudo or not, as an image without a shell.
func startHint(owner int, storage string, service, sudo bool) string {
	const start = "start the service: systemctl start " + appName
	byHand := fmt.Sprintf("start it as that user: sudo -u %s %s --config.file=FILE --storage.agent.path=%s", userArg(owner), appName, storage)
	switch {
	case service && sudo:
		return start + "; or by hand, " + byHand
	case service:
		return start
	case sudo:
		return byHand
	}
	return fmt.Sprintf("start it as user %d, which the container or the unit (User=%[1]d) has to name", owner)
}

// userName is the name of a user, and where there is none the number.
func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

// userArg names a user for sudo, which takes a number after a #.
func userArg(uid int) string {
	if name := userName(uid); name != strconv.Itoa(uid) {
		return name
	}
	return fmt.Sprintf("'#%d'", uid)
}
