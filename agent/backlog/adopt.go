package backlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-kit/log/level"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// probeHardLinks finds out whether files of wal/ can have a second name in
// backlog/.
func (s *Store) probeHardLinks() (bool, error) {
	from := filepath.Join(s.walDir, "probe"+tmpSuffix)
	to := filepath.Join(s.rootDir, "probe"+tmpSuffix)
	f, err := os.Create(from)
	if err != nil {
		return false, fmt.Errorf("cannot write to the storage directory: %w", err)
	}
	f.Close()
	linkErr := s.opts.link(from, to)
	if err := errors.Join(removeFile(to), removeFile(from)); err != nil {
		return false, err
	}
	if linkErr != nil {
		level.Debug(s.logger).Log("msg", "Cannot create a hard link", "err", linkErr)
	}
	return linkErr == nil, nil
}

// adopt moves what the last run left in wal/ to its generation: the newest
// directory, because a run creates its own before it writes. Where there is
// none, a plain Prometheus agent has written wal/, and it becomes a generation
// of its own. It returns the numbers of the generations on disk, more than it was
// given if it had to create some.
//
// An interruption at any point leaves a directory that the next call completes:
// nothing is removed from wal/ before its link is durable.
func (s *Store) adopt(numbers []int) ([]int, error) {
	segments, checkpoints, err := s.listWAL()
	if err != nil {
		return nil, err
	}
	if len(segments) > 0 {
		if len(numbers) == 0 {
			if numbers, err = s.addGenerationDir(numbers); err != nil {
				return nil, err
			}
		}
		if numbers, err = s.adoptSegments(numbers, segments); err != nil {
			return nil, err
		}
		dir := s.numberDir(numbers[len(numbers)-1])
		for _, i := range checkpoints {
			if err := s.adoptCheckpoint(dir, i); err != nil {
				return nil, err
			}
		}
		if err := s.syncAdopted(numbers, segments); err != nil {
			return nil, err
		}
		level.Info(s.logger).Log("msg", "The WAL of the last run joins the backlog", "generation", numbers[len(numbers)-1], "segments", len(segments))
	}
	return numbers, s.clearWAL(segments)
}

// listWAL lists the segments and finished checkpoints in wal/, ascending.
func (s *Store) listWAL() (segments, checkpoints []int, err error) {
	entries, err := os.ReadDir(s.walDir)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if i, ok := fileNumber(e.Name()); ok && !e.IsDir() {
			segments = append(segments, i)
		}
		if i, ok := checkpointNumber(e.Name()); ok && e.IsDir() {
			checkpoints = append(checkpoints, i)
		}
	}
	slices.Sort(segments)
	slices.Sort(checkpoints)
	return segments, checkpoints, nil
}

func (s *Store) numberDir(n int) string { return filepath.Join(s.rootDir, segmentName(n)) }

func (s *Store) addGenerationDir(numbers []int) ([]int, error) {
	n := s.nextGeneration(numbers)
	if err := os.MkdirAll(s.numberDir(n), 0o777); err != nil {
		return nil, err
	}
	return append(numbers, n), syncPath(s.rootDir)
}

func (s *Store) nextGeneration(numbers []int) int {
	n := max(s.opts.MinGeneration, 1)
	if len(numbers) > 0 {
		n = max(n, numbers[len(numbers)-1]+1)
	}
	return n
}

// adoptSegments gives every segment of wal/ a name in the newest generation. If
// a file with other content has that name already, somebody else has written to
// wal/ since (a plain Prometheus agent that repaired it, say): then the rest of
// wal/ becomes a generation of its own.
func (s *Store) adoptSegments(numbers, segments []int) ([]int, error) {
	for _, i := range segments {
		from := filepath.Join(s.walDir, segmentName(i))
		done, err := s.adopted(numbers, i, from)
		if err != nil {
			return nil, err
		}
		if done {
			continue
		}
		err = s.adoptFile(from, filepath.Join(s.numberDir(numbers[len(numbers)-1]), segmentName(i)))
		if errors.Is(err, fs.ErrExist) {
			if numbers, err = s.addGenerationDir(numbers); err != nil {
				return nil, err
			}
			level.Warn(s.logger).Log("msg", "The WAL is not the one that this directory knows; it becomes a generation of its own", "generation", numbers[len(numbers)-1], "segment", i)
			err = s.adoptFile(from, filepath.Join(s.numberDir(numbers[len(numbers)-1]), segmentName(i)))
		}
		if err != nil {
			return nil, err
		}
	}
	return numbers, nil
}

// adopted says whether a segment of wal/ is in the backlog already: in the newest
// generation or, after an interrupted adoptSegments that had begun another one, in
// the one before.
func (s *Store) adopted(numbers []int, i int, path string) (bool, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	for k, n := range slices.Backward(numbers) {
		other := filepath.Join(s.numberDir(n), segmentName(i))
		ofi, err := os.Stat(other)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return false, err
		case os.SameFile(fi, ofi):
			return true, nil
		case k == len(numbers)-1:
			// A directory that was copied without its hard links has the same
			// content twice, as far as the shorter file goes.
			same, err := equalUpTo(path, other, min(fi.Size(), ofi.Size()))
			if same && err == nil && fi.Size() > ofi.Size() {
				err = os.Rename(path, other)
			}
			if same || err != nil {
				return same, err
			}
		}
		if k == len(numbers)-2 {
			break
		}
	}
	return false, nil
}

// equalUpTo compares the first n bytes of two files.
func equalUpTo(a, b string, n int64) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for n > 0 {
		k := min(n, int64(len(bufA)))
		if _, err := io.ReadFull(fa, bufA[:k]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(fb, bufB[:k]); err != nil {
			return false, err
		}
		if !bytes.Equal(bufA[:k], bufB[:k]) {
			return false, nil
		}
		n -= k
	}
	return true, nil
}

func (s *Store) adoptFile(from, to string) error {
	if s.hardLinks {
		return s.opts.link(from, to)
	}
	if exists(to) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// adoptCheckpoint gives a checkpoint of wal/ a name in a generation directory.
func (s *Store) adoptCheckpoint(dir string, i int) error {
	from, to := filepath.Join(s.walDir, checkpointName(i)), filepath.Join(dir, checkpointName(i))
	if exists(to) {
		return nil
	}
	if s.hardLinks {
		return s.linkDir(from, to)
	}
	return os.Rename(from, to)
}

// linkDir makes a flat directory appear under a second name, whole or not at all.
func (s *Store) linkDir(from, to string) error {
	tmp := to + tmpSuffix
	if err := s.linkFiles(from, tmp); err != nil {
		return err
	}
	return fileutil.Rename(tmp, to)
}

// linkFiles links the files of a flat directory into a new one, and syncs that.
func (s *Store) linkFiles(from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err == nil {
			err = s.opts.link(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	if err == nil {
		err = syncPath(to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(to))
	}
	return nil
}

// syncAdopted makes the names durable, and the content of the last two segments:
// upstream syncs the others when it closes them.
func (s *Store) syncAdopted(numbers, segments []int) error {
	for _, n := range numbers[max(0, len(numbers)-2):] {
		dir := s.numberDir(n)
		for _, i := range segments[max(0, len(segments)-2):] {
			if err := syncPath(filepath.Join(dir, segmentName(i))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

// clearWAL removes from wal/ what has been adopted, and all checkpoints.
func (s *Store) clearWAL(segments []int) error {
	entries, err := os.ReadDir(s.walDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), checkpointPrefix) {
			if err := os.RemoveAll(filepath.Join(s.walDir, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, i := range segments {
		if err := removeFile(filepath.Join(s.walDir, segmentName(i))); err != nil {
			return err
		}
	}
	return syncPath(s.walDir)
}

// sift divides the generations into those that may hold samples and those that
// hold none.
func (s *Store) sift() (kept, empty []*generation) {
	for _, g := range s.generations {
		if g.holdsSamples() {
			kept = append(kept, g)
		} else {
			empty = append(empty, g)
		}
	}
	return kept, empty
}

// holdsSamples reads up to the first record of samples, which is one of the first
// records of every generation but those that were killed right after their
// start. What cannot be read might be samples, except a record cut at the very
// end: it was never committed.
func (g *generation) holdsSamples() bool {
	for n, seg := range g.segments {
		found := false
		err := scanFile(g.segmentPath(seg.index), func(rec []byte, _ int64) error {
			if isSamples(recordType(rec)) {
				found = true
				return errStop
			}
			return nil
		})
		var derr *damageError
		cutAtEnd := errors.As(err, &derr) && derr.cut && n == len(g.segments)-1
		if found || err != nil && !cutAtEnd {
			return true
		}
	}
	return false
}

// createGeneration makes the directory of this run. The number is higher than
// any on disk, dropped ones included.
func (s *Store) createGeneration(numbers []int, kept, empty []*generation) (*generation, error) {
	n := s.nextGeneration(numbers)
	g := &generation{number: n, dir: s.numberDir(n), emptySince: n}
	for _, e := range empty {
		if len(kept) == 0 || e.number > kept[len(kept)-1].number {
			g.emptySince = min(g.emptySince, e.emptySince)
		}
	}
	if err := os.MkdirAll(g.dir, 0o777); err != nil {
		return nil, err
	}
	if g.emptySince < n {
		if err := WriteFileAtomic(filepath.Join(g.dir, emptySinceFile), []byte(strconv.Itoa(g.emptySince)+"\n")); err != nil {
			return nil, err
		}
	}
	return g, syncPath(s.rootDir)
}
