package cutdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Disk is a block device whose content lies in memory. The kernel's loop driver writes
// to a file that this process serves, so that every write and every flush of the file
// system on it comes by.
type Disk struct {
	// Device is its path.
	Device string

	server *fuse.Server
	dir    string

	mtx     sync.Mutex
	first   []byte // what the disk held at first
	now     []byte
	ops     []op
	forgets bool
	fails   bool
}

// New makes a disk with the content of an image. It needs root, /dev/fuse and a free
// loop device; dir is an empty directory of its own.
func New(dir string, image []byte) (*Disk, error) {
	d := &Disk{dir: dir, first: bytes.Clone(image), now: bytes.Clone(image)}
	root := &folder{disk: d}
	server, err := fs.Mount(dir, root, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, MaxWrite: 1 << 20, Name: "cutdisk",
	}})
	if err != nil {
		return nil, fmt.Errorf("cannot mount a file system of this process: %w", err)
	}
	d.server = server
	if d.Device, err = Attach(filepath.Join(dir, diskName)); err != nil {
		return nil, errors.Join(err, server.Unmount())
	}
	return d, nil
}

// Close gives back the device, on which nothing may be mounted.
func (d *Disk) Close() error {
	return errors.Join(Detach(d.Device), WhileBusy(d.server.Unmount))
}

// WhileBusy does something again and again, for ten seconds, while somebody holds the disk:
// what looks at new devices, or the mount namespace of a process that was killed, which goes
// some time after it.
func WhileBusy(do func() error) (err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil {
			return nil
		}
	}
	return err
}

// Attach gives a file a loop device, and returns the path of that.
func Attach(file string) (string, error) {
	out, err := exec.Command("losetup", "--find", "--show", file).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("losetup: %w: %s", err, bytes.TrimSpace(out))
	}
	return string(bytes.TrimSpace(out)), nil
}

// Detach gives a loop device back.
func Detach(device string) error {
	if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
		return fmt.Errorf("losetup: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Forget has the disk remember no more writes, so that it can be cut no more, and takes no
// more memory than it has room.
func (d *Disk) Forget() {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.forgets, d.ops = true, nil
}

// Fail has everything that the disk is asked for fail from now on (EIO), or nothing.
func (d *Disk) Fail(fails bool) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.fails = fails
}

// Writes is how many writes and flushes there were.
func (d *Disk) Writes() int {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return len(d.ops)
}

// Cut is the disk after a power cut behind the n-th of its writes and flushes, 0 ≤ n <
// Writes, and how late that may have been: until the next of them nothing changed.
func (d *Disk) Cut(n int, m Manner, rnd *rand.Rand) (image []byte, at time.Time) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	image = bytes.Clone(d.first)
	cut(image, d.ops[:n+1], m, rnd)
	return image, d.ops[min(n+1, len(d.ops)-1)].at
}

func (d *Disk) note(o op) {
	o.at = time.Now()
	copy(d.now[o.off:], o.data)
	if !d.forgets {
		d.ops = append(d.ops, o)
	}
}

const diskName = "disk"

// folder holds the one file.
type folder struct {
	fs.Inode

	disk *Disk
}

// OnAdd implements fs.NodeOnAdder.
func (f *folder) OnAdd(ctx context.Context) {
	f.AddChild(diskName, f.NewPersistentInode(ctx, &content{disk: f.disk}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

// content is that file.
type content struct {
	fs.Inode

	disk *Disk
}

var (
	_ fs.NodeGetattrer = (*content)(nil)
	_ fs.NodeOpener    = (*content)(nil)
	_ fs.NodeReader    = (*content)(nil)
	_ fs.NodeWriter    = (*content)(nil)
	_ fs.NodeFsyncer   = (*content)(nil)
	_ fs.NodeOnAdder   = (*folder)(nil)
)

func (c *content) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = syscall.S_IFREG|0o600, uint64(len(c.disk.first))
	return 0
}

func (c *content) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (c *content) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	c.disk.mtx.Lock()
	defer c.disk.mtx.Unlock()
	if c.disk.fails {
		return nil, syscall.EIO
	}
	if off >= int64(len(c.disk.now)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, c.disk.now[off:])]), 0
}

func (c *content) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	c.disk.mtx.Lock()
	defer c.disk.mtx.Unlock()
	if c.disk.fails {
		return 0, syscall.EIO
	}
	if off+int64(len(data)) > int64(len(c.disk.now)) {
		return 0, syscall.ENOSPC
	}
	c.disk.note(op{off: off, data: bytes.Clone(data)})
	return uint32(len(data)), 0
}

// Fsync: what was written before it has been noted before it.
func (c *content) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	c.disk.mtx.Lock()
	defer c.disk.mtx.Unlock()
	if c.disk.fails {
		return syscall.EIO
	}
	c.disk.note(op{flush: true})
	return 0
}

// Format returns the image of a new file system, made by a program: its arguments, and
// the file behind them.
func Format(size int64, program string, args ...string) ([]byte, error) {
	f, err := os.CreateTemp("", "image")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	if out, err := exec.Command(program, append(args, f.Name())...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return os.ReadFile(f.Name())
}
