package backlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opstrace/opstrace-agent/agent/number"
)

// A run in which nothing can be written: the disk is full or has no inodes left, the
// file system is read-only, the directory belongs to somebody else, or fails. It has
// a number, and nothing on disk but what earlier runs left, which is read, delivered
// and released as ever. Nothing is evicted: nothing needs the room.

// trialFiles and trialBytes of each are what TryWrite writes: more than the beginning
// of a run does, and its first segments.
const (
	trialFiles = 8
	trialBytes = 8 << 10
)

// TryWrite does what the beginning of a run does, and undoes it. Without an error it
// is time to open the store anew. It wants the free space that is to be left, too:
// with less, a new run would begin by evicting what may still be delivered.
func (s *Store) TryWrite() error {
	s.op.Lock()
	defer s.op.Unlock()
	if s.isClosed() {
		return os.ErrClosed
	}
	free, err := freeBytes(s.evictor.meter.dir)
	if err != nil {
		return err
	}
	if least := s.room.last().MinFreeBytes; free < least {
		return fmt.Errorf("%s are free and %s are to be left: %w", number.Bytes(free), number.Bytes(least), syscall.ENOSPC)
	}
	var errs []error
	trials := []string{filepath.Join(s.inv.walDir, "trial"+tmpSuffix), filepath.Join(s.inv.rootDir, "trial"+tmpSuffix)}
	for _, dir := range trials {
		errs = append(errs, tryWrite(dir))
	}
	for _, dir := range trials {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

func tryWrite(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	for i := range trialFiles {
		f, err := os.OpenFile(filepath.Join(dir, segmentName(i)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, trialBytes))
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// IsFull reports whether err says that there is no space: what is unlinked makes
// some.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
