package ledger

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// TestWriteOnFullDisk: marks can be written on a disk without a byte and without an
// inode left, as often as one likes, also when they become shorter and longer again.
func TestWriteOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,nr_inodes=4"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	long, short := example(), example()
	long.Destinations["elder"] = Saved{URL: strings.Repeat("x", 1000), Mark: pos(3, 7, 4711)}
	for range 2 { // the second makes the first the spare
		if _, err := Write(dir, long); err != nil {
			t.Fatal(err)
		}
	}
	filler, err := os.Create(filepath.Join(dir, "filler")) // the last inode
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for err == nil {
		_, err = filler.Write(make([]byte, 512))
	}
	if f, err := os.Create(filepath.Join(dir, "more")); err == nil {
		f.Close()
		t.Fatal("there is an inode left")
	}
	for i, f := range []File{short, long, short, short, long} {
		f.Generation = 10 + i
		if _, err := Write(dir, f); err != nil {
			t.Fatal(err)
		}
		got, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		want := Unwritten(f, 0)
		want.Unwritten = false
		got.Written, want.Written = 0, 0
		if !reflect.DeepEqual(withoutOrigin(got), withoutOrigin(want)) {
			t.Errorf("write %d: got %+v, want %+v", i, got, want)
		}
	}
}
