package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"github.com/opstrace/opstrace-agent/agent/backlog"
)

// spareSuffix is of the name of a file that is as large as the next write needs.
const spareSuffix = ".spare"

// writeReserved replaces the file at path by data, atomically and durably, also on a
// disk without a byte or an inode left: data go into a spare file, which has its
// place on disk already, and the two change names. Without it, a full disk would
// keep what is delivered from being unlinked, and stay full. data is padded with
// spaces.
func writeReserved(path string, data []byte) error {
	if overwrite(path+spareSuffix, data) == nil && exchange(path+spareSuffix, path) == nil {
		return syncDir(filepath.Dir(path))
	}
	// The first time, or where names cannot be exchanged.
	return backlog.WriteFileAtomic(path, data)
}

// overwrite writes data to a file without giving back any of the space that it has.
func overwrite(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if short := int(fi.Size()) - len(data); short > 0 {
		data = append(bytes.Clone(data), bytes.Repeat([]byte(" "), short)...)
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		return err
	}
	reserve(f, 2*int64(len(data))) // if there is no room now, there was before
	return f.Sync()
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
