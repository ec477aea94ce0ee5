package backlog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/tsdbutil"
)

// ErrHeld: another process uses the directory.
var ErrHeld = errors.New("another process uses the storage directory: stop it, or give this one a directory of its own")

// ErrUnusable: there is nothing of an earlier run, and nothing can be created.
var ErrUnusable = errors.New("cannot create the storage directory")

// makeDirs creates wal/ and backlog/. unwritable says why that cannot be done now;
// err, that it never could: there is nothing of an earlier run.
func makeDirs(dir string) (unwritable, err error) {
	wal, root := filepath.Join(dir, "wal"), filepath.Join(dir, "backlog")
	unwritable = errors.Join(os.MkdirAll(wal, dirMode), os.MkdirAll(root, dirMode))
	if unwritable != nil && !exists(wal) && !exists(root) {
		return nil, fmt.Errorf("%w; the user that the agent runs as must be able to write to %s: %w", ErrUnusable, dir, unwritable)
	}
	return unwritable, nil
}

// dirLock keeps other processes out: of this program by a lock on the directory
// itself, which needs no space and no permission to write, and a Prometheus agent
// by the lock file, where it can be created.
type dirLock struct {
	dir  *os.File            // nil where the file system does not lock directories
	file *tsdbutil.DirLocker // nil where there is none
}

// lockDir returns ErrHeld when another process has the directory, and another error
// when nothing in it can be locked.
func lockDir(path string, logger *slog.Logger) (*dirLock, error) {
	l := &dirLock{}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the storage directory: %w", err)
	}
	switch err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		l.dir = dir
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrHeld, path), dir.Close())
	default: // some network file systems
		dir.Close()
	}
	// Without a registerer: agent.DB registers a gauge of the same name.
	file, err := tsdbutil.NewDirLocker(path, "agent", logger, nil)
	if err == nil {
		err = file.Lock()
	}
	switch {
	case err == nil:
		l.file = file
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("%w: %s", ErrHeld, path), l.release())
	case l.dir == nil:
		return nil, fmt.Errorf("cannot lock the storage directory: %w", err)
	}
	return l, nil
}

func (l *dirLock) release() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Release())
	}
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	return errors.Join(errs...)
}

// abandon releases the lock of a directory that has lost its name. The lock file is left to
// the garbage collector: to release it would remove what bears its name now.
func (l *dirLock) abandon() {
	if l.dir != nil {
		l.dir.Close() // it was read only
	}
	l.file, l.dir = nil, nil
}
