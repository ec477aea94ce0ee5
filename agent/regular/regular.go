// Package regular reads files that somebody else names. A named pipe in the place of
// one is opened for as long as nobody writes to it, which may be for ever, and without
// a word: here, that is an error.
package regular

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// NotRegular is the error of what is no file that can be read to its end: a pipe, a
// device, a socket.
type NotRegular struct{ Mode fs.FileMode }

func (e *NotRegular) Error() string {
	what := "something else"
	switch {
	case e.Mode&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case e.Mode&fs.ModeSocket != 0:
		what = "a socket"
	case e.Mode&fs.ModeDevice != 0:
		what = "a device"
	}
	return "it is " + what + ", not a regular file"
}

// Read is os.ReadFile, but for a *NotRegular where that might wait. Errors are of type
// *fs.PathError.
func Read(path string) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Check returns the error of Read without reading: that of what cannot be opened or is
// no regular file. Directories pass: reading one does not wait, and fails.
func Check(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// CheckMatches returns the error of the first file that matches one of the patterns of
// filepath.Glob and is a *NotRegular. What else is wrong is left to who reads it.
func CheckMatches(patterns []string) error {
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			var no *NotRegular
			if err := Check(path); errors.As(err, &no) {
				return err
			}
		}
	}
	return nil
}

// open looks at what it has opened: what has the name may change in between.
func open(path string) (*os.File, error) {
	// A socket cannot be opened, and says something of a device then.
	if info, err := os.Stat(path); err == nil && !readable(info.Mode()) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: &NotRegular{info.Mode()}}
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !readable(info.Mode()) {
		err = &fs.PathError{Op: "open", Path: path, Err: &NotRegular{info.Mode()}}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func readable(m fs.FileMode) bool { return m.IsRegular() || m.IsDir() }
