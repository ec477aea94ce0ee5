package backlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// ErrHeld: another process uses the directory.
var ErrHeld = errors.New("another process uses the storage directory: stop it, or give this one a directory of its own")

// ErrUnusable: there is nothing of an earlier run, and nothing can be created.
var ErrUnusable = errors.New("cannot create the storage directory")

// makeDirs creates wal/ and backlog/. unwritable says why that cannot be done now;
// err, that it never could: there is nothing of an earlier run.
func makeDirs(dir string) (unwritable, err error) {
	wal, root := filepath.Join(dir, "wal"), filepath.Join(dir, "backlog")
	unwritable = errors.Join(makeDir(wal), makeDir(root))
	if unwritable != nil && !exists(wal) && !exists(root) {
		return nil, fmt.Errorf("%w; the user that the agent runs as must be able to write to %s: %w", ErrUnusable, dir, unwritable)
	}
	return unwritable, nil
}

// dirLock keeps other processes out: of this program by a lock on the directory
// itself, which needs no space and no permission to write, and a Prometheus agent
// by the lock file, where it can be created.
type dirLock struct {
	dir  *os.File          // nil where the file system does not lock directories
	file fileutil.Releaser // nil where there is none
	path string            // of the file
}

// lockDir returns ErrHeld when another process has the directory, and another error
// when nothing in it can be locked.
func lockDir(path string) (*dirLock, error) {
	l := &dirLock{path: filepath.Join(path, "lock")}
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
	file, _, err := fileutil.Flock(l.path)
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

// release gives the directory back, and removes the lock file.
func (l *dirLock) release() error {
	remove := l.file != nil
	err := l.unlock()
	if remove {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

// unlock gives a directory back that may have lost its name: what bears the name of the
// lock file now is somebody else's, and stays. The locks must not stay: when the
// directory gets its name back, they would be taken for another process's.
func (l *dirLock) unlock() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Release())
	}
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	l.file, l.dir = nil, nil
	return errors.Join(errs...)
}
