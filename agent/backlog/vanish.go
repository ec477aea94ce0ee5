package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
)

// ErrVanished ends Run: what is appended goes to files that have no name any more.
var ErrVanished = errors.New("the storage directory was removed, renamed or replaced while in use")

// anchors are the directories of a run, held open: as long as they are, no other
// directory gets their numbers, and a directory of the same name is told apart.
type anchors struct {
	dirs     []*os.File
	vanished atomic.Pointer[error] // for good
}

// hold opens the directories, up to one that cannot be opened. That is an error, because
// nobody would see it vanish.
func (a *anchors) hold(paths ...string) error {
	for _, path := range paths {
		dir, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("cannot hold a directory open: %w", err)
		}
		a.dirs = append(a.dirs, dir)
	}
	return nil
}

// look returns ErrVanished when a directory that is held is not to be found under its
// name.
func (a *anchors) look() error {
	if err := a.vanished.Load(); err != nil {
		return *err
	}
	for _, dir := range a.dirs {
		if hasLostItsName(dir) {
			return a.say(dir.Name())
		}
	}
	return nil
}

// lookForFirst is look for the first directory only.
func (a *anchors) lookForFirst() error {
	if err := a.vanished.Load(); err != nil {
		return *err
	}
	if a.moved() {
		return a.say(a.dirs[0].Name())
	}
	return nil
}

// moved reports whether another directory, or none, has the name of the first one.
func (a *anchors) moved() bool { return len(a.dirs) > 0 && hasLostItsName(a.dirs[0]) }

// hasLostItsName takes what cannot be looked at, for another reason than that it is
// nowhere, to be there.
func hasLostItsName(dir *os.File) bool {
	held, err := dir.Stat()
	if err != nil {
		return isNowhere(err)
	}
	named, err := os.Stat(dir.Name())
	if err != nil {
		return isNowhere(err)
	}
	return !os.SameFile(held, named)
}

func (a *anchors) say(path string) error {
	err := fmt.Errorf("%w: %s", ErrVanished, path)
	a.vanished.CompareAndSwap(nil, &err)
	return *a.vanished.Load()
}

func (a *anchors) release() {
	for _, dir := range a.dirs {
		dir.Close() // it was read only
	}
	a.dirs = nil
}

// isNowhere reports whether err says that there is nothing of a name: on a network file
// system, nothing of what is held either.
func isNowhere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ESTALE)
}

// lookForLast returns ErrVanished when the segment being written is found neither in
// wal/ nor in its generation: what is written to it has no name.
func (a *anchors) lookForLast(inv *inventory) error {
	names := inv.namesOfLast()
	for _, name := range names { // one of them is enough to find what was written
		if _, err := os.Lstat(name); !isNowhere(err) {
			return nil
		}
	}
	if len(names) == 0 || !slices.Equal(names, inv.namesOfLast()) { // others may have gone meanwhile
		return nil
	}
	return a.say(names[0])
}

// namesOfLast returns the paths of the newest segment that is known.
func (inv *inventory) namesOfLast() []string {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	g := inv.running()
	last, ok := g.last()
	if !ok {
		return nil
	}
	names := []string{inv.walSegment(last)}
	if g.segment(last).linked {
		names = append(names, g.segmentPath(last))
	}
	return names
}
