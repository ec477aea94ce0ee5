package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-kit/log/level"
	"golang.org/x/sys/unix"

	"github.com/opstrace/opstrace-agent/agent/pulse"
)

// startOver is when the start is over, where the agent is ready: the configuration is
// read, what it embeds is initialised, and targets are scraped.
const startOver = 30 * time.Second

// leaveStart takes the pages of the program that only the start needed out of the
// resident memory: about a third of all that is resident, which would stay for as long as
// the kernel has enough. What is needed again comes back from the page cache.
func (p *process) leaveStart(ctx context.Context) error {
	for pulse.Wait(ctx, startOver) {
		if !p.agent.Ready() {
			continue
		}
		if err := unmapProgram(); err != nil {
			level.Debug(p.logger).Log("msg", "Pages of the start stay resident", "err", err)
		} else {
			level.Debug(p.logger).Log("msg", "Pages of the start left to the page cache")
		}
		break
	}
	<-ctx.Done()
	return nil
}

// unmapProgram has the kernel forget which pages of the program were used, and map them
// anew as they are used again (madvise(2), MADV_DONTNEED). It fails where there is no
// /proc.
func unmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	for _, e := range asInFile(string(smaps), program) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, e.from, e.to-e.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise of %x-%x: %w", e.from, e.to, errno)
		}
	}
	return nil
}

// extent is a range of addresses, without the last one.
type extent struct{ from, to uintptr }

// asInFile returns where memory has what the file has, and nothing else: its code and its
// constants. A page that was written to is not in the file, not even where nobody may
// write to it any more, as where a linker has put addresses in. smaps is as
// proc_pid_smaps(5) has it.
func asInFile(smaps, file string) []extent {
	var all []extent
	var e extent
	ours := false
	for line := range strings.Lines(smaps) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, ":")
		if strings.Contains(key, " ") { // from-to mode offset device:... inode file
			var mode string
			_, err := fmt.Sscanf(line, "%x-%x %s", &e.from, &e.to, &mode)
			ours = err == nil && (mode == "r-xp" || mode == "r--p") && strings.HasSuffix(line, " "+file)
		} else if ours && key == "Anonymous" && strings.TrimSpace(value) == "0 kB" {
			all = append(all, e)
		}
	}
	return all
}
