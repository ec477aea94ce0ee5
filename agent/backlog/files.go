package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	tmpSuffix        = wlog.CheckpointTempFileSuffix // what carries it is unfinished and removed at start
	checkpointPrefix = "checkpoint."

	dirMode  = 0o750
	fileMode = 0o640
)

// WriteFileAtomic replaces the file at path by data: after a crash or a power
// cut it holds either the old content or the new.
func WriteFileAtomic(path string, data []byte) (err error) {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeFile(tmp))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return fileutil.Rename(tmp, path)
}

// syncPath makes the file or directory at path durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", path, err)
	}
	return nil
}

// makeDir creates a directory and makes it durable, itself before its name: without a
// journal, the name might lead to what was there before it.
func makeDir(dir string) error {
	if isDir(dir) {
		return nil
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	if err := syncPath(dir); err != nil {
		return err
	}
	return syncPath(filepath.Dir(dir))
}

// syncContent makes the content of a segment durable. There is nothing to be done
// for what is no file, and what may not be opened was not written by this process.
func syncContent(path string) error {
	if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() {
		return nil // to open a pipe would wait for ever
	}
	err := syncPath(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// syncFlatDir makes a directory and the files directly in it durable.
func syncFlatDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := syncPath(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncPath(dir)
}

// freeBytes returns what an unprivileged process may still write to the file
// system of path.
func freeBytes(path string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("cannot ask for the free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// dirBytes sums up the sizes of the files below dir. What vanishes meanwhile
// does not count.
func dirBytes(dir string) int64 {
	n, err := fileutil.DirSize(dir)
	if err != nil {
		return 0
	}
	return n
}

// fileNumber parses a name of the kind that segments, generations and rescued
// series have: decimal digits only.
func fileNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && n >= 0
}

// checkpointNumber parses the name of a finished checkpoint directory.
func checkpointNumber(name string) (int, bool) {
	rest, ok := strings.CutPrefix(name, checkpointPrefix)
	if !ok {
		return 0, false
	}
	return fileNumber(rest)
}

func segmentName(i int) string    { return fmt.Sprintf("%08d", i) }
func checkpointName(i int) string { return checkpointPrefix + segmentName(i) }

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// removeDurably removes files or directories of dir for good: first the names by which
// they are known, and what they are only when that is on disk. A directory that is half
// removed must not pass for a whole one after a power cut; and a file system without a
// journal may find a name again that was removed, of what has been written since in
// the same place. What cannot be renamed or synced is removed all the same, to make room.
func removeDurably(dir string, names ...string) error {
	var errs []error
	for _, name := range names {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+tmpSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	if err := syncPath(dir); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, name := range names {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name+tmpSuffix)))
	}
	return errors.Join(errs...)
}

// removeDir removes a directory durably.
func removeDir(dir string) error { return removeDurably(filepath.Dir(dir), filepath.Base(dir)) }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func isDir(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.IsDir()
}

// walListing is what lies in wal/, by number, ascending.
type walListing struct {
	segments    []int
	checkpoints []int // finished ones
	strays      []int // directories with the names of segments: nothing of upstream's
}

func listWAL(dir string) (l walListing, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return l, err
	}
	for _, e := range entries {
		if i, ok := fileNumber(e.Name()); ok && e.IsDir() {
			l.strays = append(l.strays, i)
		} else if ok {
			l.segments = append(l.segments, i)
		}
		if i, ok := checkpointNumber(e.Name()); ok && e.IsDir() {
			l.checkpoints = append(l.checkpoints, i)
		}
	}
	slices.Sort(l.segments)
	slices.Sort(l.checkpoints)
	return l, nil
}
