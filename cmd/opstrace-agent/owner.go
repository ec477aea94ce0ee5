package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
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
// every sample from its next start on.
func refuseOwner(uid int, storage string) error {
	owner, known := ownerOf(storage)
	if uid != 0 || !known || owner == 0 {
		return nil
	}
	return &usageError{
		fmt.Sprintf("%s belongs to user %s: what root leaves there, that user could not use", storage, userName(owner)),
		startAs(owner, storage),
	}
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
	hint := fmt.Sprintf("start it as that user: sudo -u %s %s --config.file=FILE --storage.agent.path=%s", userArg(owner), appName, storage)
	if isInstalled(installRoot) && userName(owner) == serviceUser {
		hint = "start the service: systemctl start " + appName + "; or by hand, s" + hint[1:]
	}
	return hint
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
