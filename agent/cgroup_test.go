//go:build !race

package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestBombsInSmallMemory: the same where the kernel kills whoever takes more than
// 96 MiB, as in a unit with MemoryMax=96M. (The race detector alone takes more.)
func TestBombsInSmallMemory(t *testing.T) {
	t.Parallel()
	dir := memoryGroup(t, 96<<20)
	r := newRig(t, agenttest.Manners{})
	r.place = func(pid int) error {
		return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o640)
	}
	r.bombs()
}

// memoryGroup makes a group of processes that may use so many bytes together, and
// removes it when the test and what it cleans up later have ended.
func memoryGroup(t *testing.T, limit int64) string {
	t.Helper()
	for _, file := range []string{"/sys/fs/cgroup/memory/%s/memory.limit_in_bytes", "/sys/fs/cgroup/%s/memory.max"} {
		file = fmt.Sprintf(file, "opstrace-agent-"+t.Name()+"-"+strconv.Itoa(os.Getpid()))
		dir := filepath.Dir(file)
		if err := os.Mkdir(dir, 0o750); err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Log(err)
			}
		})
		// Not made here: where it is missing, this is no cgroup of this kind.
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			continue
		}
		_, err = f.WriteString(strconv.FormatInt(limit, 10))
		if err := errors.Join(err, f.Close()); err == nil {
			return dir
		}
	}
	t.Skip("memory cannot be limited here: that takes root, and a cgroup file system that may be written")
	return ""
}
