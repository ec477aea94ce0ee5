package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go has for Linux.
const clockTick = 10 * time.Millisecond

// memory is what is resident, in bytes.
type memory struct {
	rss  int64
	anon int64
	file int64 // and shared
}

// thread is what one thread has used so far.
type thread struct {
	cpu      time.Duration
	switches int64 // voluntary or not
}

// counters are what a process has used so far.
type counters struct {
	at      time.Time
	cpu     time.Duration // in ticks, of ended threads too
	threads map[int]thread
	written int64 // bytes, to be written to a disk
}

// spent is what was used between two readings.
type spent struct {
	wall     time.Duration
	cpu      time.Duration
	switches int64
	written  int64 // bytes
}

func readMemory(pid int) (memory, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, err
	}
	return parseMemory(content)
}

func parseMemory(status []byte) (m memory, err error) {
	values, err := parseFields(status, "VmRSS", "RssAnon", "RssFile", "RssShmem")
	if err != nil {
		return m, err
	}
	const kilobyte = 1 << 10 // whatever it says, the kernel means 1,024
	return memory{rss: values[0] * kilobyte, anon: values[1] * kilobyte, file: (values[2] + values[3]) * kilobyte}, nil
}

// parseFields returns the numbers behind names in lines of "name: number unit".
func parseFields(content []byte, names ...string) ([]int64, error) {
	values := make([]int64, len(names))
	for i, name := range names {
		found := false
		for line := range bytes.Lines(content) {
			rest, ok := bytes.CutPrefix(line, []byte(name+":"))
			if !ok {
				continue
			}
			words := strings.Fields(string(rest))
			if len(words) == 0 {
				return nil, fmt.Errorf("nothing behind %s", name)
			}
			n, err := strconv.ParseInt(words[0], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			values[i], found = n, true
		}
		if !found {
			return nil, fmt.Errorf("no %s", name)
		}
	}
	return values, nil
}

// readCounters reads the nanoseconds of the threads beside the ticks of the process,
// which are too coarse for an idle one.
func readCounters(pid int) (c counters, err error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	c = counters{at: time.Now(), threads: map[int]thread{}}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return c, err
	}
	if c.cpu, err = parseStat(stat); err != nil {
		return c, fmt.Errorf("%s/stat: %w", dir, err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "io"))
	if err != nil {
		return c, err
	}
	written, err := parseFields(content, "write_bytes")
	if err != nil {
		return c, fmt.Errorf("%s/io: %w", dir, err)
	}
	c.written = written[0]
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return c, err
	}
	for _, task := range tasks {
		t, err := readThread(filepath.Join(dir, "task", task.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended just now
		}
		if err != nil {
			return c, err
		}
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return c, err
		}
		c.threads[id] = t
	}
	return c, nil
}

func readThread(dir string) (t thread, err error) {
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return t, err
	}
	switches, err := parseFields(status, "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
	if err != nil {
		return t, fmt.Errorf("%s/status: %w", dir, err)
	}
	t.switches = switches[0] + switches[1]
	schedstat, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return t, err
	}
	if t.cpu, err = parseSchedstat(schedstat); err != nil {
		return t, fmt.Errorf("%s/schedstat: %w", dir, err)
	}
	return t, nil
}

// parseStat returns user and system time. The name of the program, in parentheses, may
// have spaces and parentheses of its own.
func parseStat(content []byte) (time.Duration, error) {
	end := bytes.LastIndexByte(content, ')')
	words := strings.Fields(string(content[end+1:]))
	const user, system = 14 - 3, 15 - 3 // the third field comes first here
	if end < 0 || len(words) <= system {
		return 0, errors.New("too short")
	}
	var ticks int64
	for _, word := range []string{words[user], words[system]} {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseSchedstat returns the time on a processor.
func parseSchedstat(content []byte) (time.Duration, error) {
	words := strings.Fields(string(content))
	if len(words) == 0 {
		return 0, errors.New("empty")
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	return time.Duration(n), err
}

// since is what was used from an earlier reading of the same process on. Where a thread
// has ended in between, which Go's hardly do, what it used is in the ticks only.
func (c counters) since(earlier counters) spent {
	s := spent{wall: c.at.Sub(earlier.at), written: c.written - earlier.written}
	ended := false
	for id, t := range c.threads {
		s.cpu += t.cpu - earlier.threads[id].cpu
		s.switches += t.switches - earlier.threads[id].switches
	}
	for id := range earlier.threads {
		if _, ok := c.threads[id]; !ok {
			ended = true
		}
	}
	if ended {
		s.cpu = c.cpu - earlier.cpu
	}
	return s
}

// diskUse is what the files below dir take on disk, in bytes.
func diskUse(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is in use
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		size += onDisk(info)
		return nil
	})
	return size, err
}
