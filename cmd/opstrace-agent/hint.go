package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// hintOf is what to do about an error, by whoever made it; empty if that is not known.
func hintOf(err error) string {
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return usage.hint
	}
	if conf := (*scrapeconfig.Error)(nil); errors.As(err, &conf) {
		return cmp.Or(goneHint(conf, installRoot), conf.Hint)
	}
	if failed := (*failure)(nil); errors.As(err, &failed) {
		return failed.hint
	}
	if listen := (*listenError)(nil); errors.As(err, &listen) {
		return listen.hint()
	}
	return ""
}

// goneHint is what to do where the file is gone that the service reads, which is
// installed below root: its name is right. Empty for every other error.
func goneHint(err *scrapeconfig.Error, root string) string {
	if !errors.Is(err.Err, fs.ErrNotExist) || !isService(err.File, root) {
		return ""
	}
	return fmt.Sprintf("write it anew: sudo %s init --cluster NAME --tenant NAME --token-file /etc/opstrace-agent/token -o %s, then: sudo systemctl restart %[1]s", appName, err.File)
}

// lastHint is what to do about an error that nobody else has a hint for. It is never
// empty: who reads an error is never left without a next step.
func lastHint(err error) string {
	return cmp.Or(systemHint(err), "what every command and flag does is in 'opstrace-agent --help' and opstrace-agent(8)")
}

// systemHint is what to do about an error of which only the system's reason is known;
// empty if that says nothing.
func systemHint(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "run it as root, with sudo, or as a user who may do that"
	case errors.Is(err, fs.ErrNotExist):
		return "create what is missing, or correct the path"
	case errors.Is(err, syscall.EISDIR):
		return "name a file in that folder"
	case errors.Is(err, syscall.ENOTDIR):
		return "correct the path: what should be a folder is none"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EROFS):
		return "make room there, or name another place"
	case errors.Is(err, syscall.ESRCH):
		return "name a process that runs: 'systemctl show -p MainPID opstrace-agent' tells the service's"
	case errors.Is(err, context.DeadlineExceeded):
		return "try again; what a running agent is busy with, 'opstrace-agent status' tells"
	}
	return ""
}

// fileHint is what to do about a file that cannot be used: read at all, or, as
// otherwise says, understood.
func fileHint(err error, otherwise string) string {
	return cmp.Or(systemHint(err), otherwise)
}
