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
	"strings"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// adoption moves what the last run left in wal/ to its generation: the newest
// directory, because a run creates its own before it writes. Where there is none,
// a plain Prometheus agent has written wal/, and it becomes a generation of its own.
//
// An interruption at any point leaves a directory that the next start completes:
// nothing is removed from wal/ before its link is durable.
type adoption struct {
	walDir, rootDir string
	minGeneration   int
	hardLinks       bool
	link            linkFunc
	logger          log.Logger

	numbers []int // of the generations on disk, ascending; more are added if need be
}

// probeHardLinks finds out whether files of wal/ can have a second name in
// backlog/.
func (a *adoption) probeHardLinks() error {
	from := filepath.Join(a.walDir, "probe"+tmpSuffix)
	to := filepath.Join(a.rootDir, "probe"+tmpSuffix)
	f, err := os.OpenFile(from, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return fmt.Errorf("cannot write to the storage directory: %w", err)
	}
	f.Close()
	linkErr := a.link(from, to)
	if err := errors.Join(removeFile(to), removeFile(from)); err != nil {
		return err
	}
	if linkErr != nil {
		level.Debug(a.logger).Log("msg", "Cannot create a hard link", "err", linkErr)
	}
	a.hardLinks = linkErr == nil
	return nil
}

// run moves all there is, and empties wal/.
func (a *adoption) run() error {
	wal, err := listWAL(a.walDir)
	if err != nil {
		return err
	}
	names := append(wal.segments, wal.strays...)
	slices.Sort(names)
	if len(names) > 0 {
		if len(a.numbers) == 0 || !a.usable(a.newest()) {
			if err := a.addGeneration(); err != nil {
				return err
			}
		}
		for _, i := range names {
			if err := a.segment(i); err != nil {
				return err
			}
		}
		for _, i := range wal.checkpoints {
			if err := a.checkpoint(i); err != nil {
				return err
			}
		}
		if err := a.sync(names); err != nil {
			return err
		}
		level.Info(a.logger).Log("msg", "The WAL of the last run joins the backlog", "generation", a.newest(), "segments", len(names))
	}
	return a.clearWAL(names)
}

func (a *adoption) newest() int { return a.numbers[len(a.numbers)-1] }

func (a *adoption) dir(n int) string { return filepath.Join(a.rootDir, segmentName(n)) }

// usable reports whether there is a directory of a generation that can be listed.
func (a *adoption) usable(n int) bool {
	_, err := os.ReadDir(a.dir(n))
	return err == nil
}

// next returns the number of the next generation.
func (a *adoption) next() int {
	n := max(a.minGeneration, 1)
	if len(a.numbers) > 0 {
		n = max(n, a.newest()+1)
	}
	return n
}

func (a *adoption) addGeneration() error {
	n := a.next()
	if err := makeDir(a.dir(n)); err != nil {
		return err
	}
	a.numbers = append(a.numbers, n)
	return nil
}

// segment gives a segment of wal/ a name in the newest generation. If a file with
// other content has that name already, somebody else has written to wal/ since (a
// plain Prometheus agent that repaired it, say): then the rest of wal/ becomes a
// generation of its own. So it does if the newest generation takes nothing in.
func (a *adoption) segment(i int) error {
	from := filepath.Join(a.walDir, segmentName(i))
	done, err := a.adopted(i, from)
	if done || err != nil {
		return err
	}
	err = a.file(from, filepath.Join(a.dir(a.newest()), segmentName(i)))
	if !errors.Is(err, fs.ErrExist) && !isDenied(err) {
		return err
	}
	if err := a.addGeneration(); err != nil {
		return err
	}
	level.Warn(a.logger).Log("msg", "The WAL does not fit the generation that it should belong to and becomes one of its own", "generation", a.newest(), "segment", i, "err", err)
	return a.file(from, filepath.Join(a.dir(a.newest()), segmentName(i)))
}

// adopted reports whether a segment of wal/ is in the backlog already: in the newest
// generation or, after an interrupted adoption that had begun another one, in the
// one before.
func (a *adoption) adopted(i int, path string) (bool, error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	for _, n := range slices.Backward(a.numbers[max(0, len(a.numbers)-2):]) {
		other := filepath.Join(a.dir(n), segmentName(i))
		ofi, err := os.Lstat(other)
		if err != nil {
			continue // not there, or not to be had
		}
		if os.SameFile(fi, ofi) {
			return true, nil
		}
		if n != a.newest() || !fi.Mode().IsRegular() || !ofi.Mode().IsRegular() {
			continue
		}
		// A directory that was copied without its hard links has the same content
		// twice, as far as the shorter file goes.
		if !equalUpTo(path, other, min(fi.Size(), ofi.Size())) {
			continue
		}
		if fi.Size() > ofi.Size() {
			return true, os.Rename(path, other)
		}
		return true, nil
	}
	return false, nil
}

// equalUpTo reports whether the first n bytes of two files are the same. What cannot
// be read is not.
func equalUpTo(a, b string, n int64) bool {
	fa, err := os.Open(a)
	if err != nil {
		return false
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for n > 0 {
		k := min(n, int64(len(bufA)))
		if _, err := io.ReadFull(fa, bufA[:k]); err != nil {
			return false
		}
		if _, err := io.ReadFull(fb, bufB[:k]); err != nil {
			return false
		}
		if !bytes.Equal(bufA[:k], bufB[:k]) {
			return false
		}
		n -= k
	}
	return true
}

func (a *adoption) file(from, to string) error {
	if a.hardLinks && !isDir(from) {
		// A second name may need space, where another one needs none.
		if err := a.link(from, to); err == nil || errors.Is(err, fs.ErrExist) || isDenied(err) {
			return err
		}
	}
	if exists(to) {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// checkpoint gives a checkpoint of wal/ a name in the newest generation. One that
// cannot be read moves there as it is: readers say so.
func (a *adoption) checkpoint(i int) error {
	from, to := filepath.Join(a.walDir, checkpointName(i)), filepath.Join(a.dir(a.newest()), checkpointName(i))
	if exists(to) {
		return nil
	}
	if a.hardLinks {
		err := a.link.linkDir(from, to)
		if err == nil {
			return nil
		}
		level.Warn(a.logger).Log("msg", "Cannot link a checkpoint of the last run", "generation", a.newest(), "checkpoint", i, "err", err)
	}
	return os.Rename(from, to)
}

// sync makes the names durable, and the content of the last two segments: upstream
// syncs the others when it closes them.
func (a *adoption) sync(segments []int) error {
	for _, n := range a.numbers[max(0, len(a.numbers)-2):] {
		if !a.usable(n) {
			continue // nothing went there
		}
		for _, i := range segments[max(0, len(segments)-2):] {
			if err := syncContent(filepath.Join(a.dir(n), segmentName(i))); err != nil {
				return err
			}
		}
		if err := syncPath(a.dir(n)); err != nil {
			return err
		}
	}
	return nil
}

// clearWAL removes from wal/ what has been adopted, and all checkpoints.
func (a *adoption) clearWAL(segments []int) error {
	entries, err := os.ReadDir(a.walDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), checkpointPrefix) {
			if err := os.RemoveAll(filepath.Join(a.walDir, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, i := range segments {
		if err := removeFile(filepath.Join(a.walDir, segmentName(i))); err != nil {
			return err
		}
	}
	return syncPath(a.walDir)
}
