package upstreamqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// CreateFirstSegment puts an empty segment 0 into dir/wal if the WAL has none,
// so that the segment which is written is never number 0: the gauge of a
// watcher says 0 when it has not begun as well (see BeginsAtSegmentOne in the
// package's assumptions). It must be called before the WAL is opened.
func CreateFirstSegment(dir string) error {
	wal := filepath.Join(dir, "wal")
	if err := os.MkdirAll(wal, 0o750); err != nil {
		return fmt.Errorf("cannot create the WAL's directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(wal, "00000000"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot create the WAL's first segment: %w", err)
	}
	return f.Close()
}
