package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	tmpSuffix        = wlog.CheckpointTempFileSuffix // what carries it is unfinished and removed at start
	checkpointPrefix = "checkpoint."
)

// WriteFileAtomic replaces the file at path by data: after a crash or a power
// cut it holds either the old content or the new.
func WriteFileAtomic(path string, data []byte) (err error) {
	tmp := path + tmpSuffix
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
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
