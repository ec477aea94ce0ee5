package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// exchange has two files change names.
func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// reserve gives a file its place on disk, behind its end as well, where the file
// system can.
func reserve(f *os.File, size int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
}
