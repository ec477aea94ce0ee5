package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// askTimeout is more than the command status takes to give up.
const askTimeout = 15 * time.Second

var client = &http.Client{Timeout: 5 * time.Second}

// look looks at the agent once, from outside.
func (w *world) look(ctx context.Context) look {
	l := look{from: time.Now()}
	var since time.Time
	l.pid, since = w.agent.running()
	l.disk = bytesIn(filepath.Join(w.storage(), "wal"), filepath.Join(w.storage(), "backlog"))
	if !w.agent.is(w.program.path) {
		l.pid = 0 // what another version says of itself is not judged
	}
	if l.pid != 0 {
		l.code, l.headline = w.askStatus(ctx)
		l.destinations, _ = askDelivery(ctx, w.url)
		l.goroutines = w.askGoroutines(ctx)
		l.resident, l.sockets = residentOf(l.pid), socketsOf(l.pid)
	}
	if s := w.sender; s != nil {
		l.sender = s.seen(ctx)
		l.senderDisk = bytesIn(filepath.Join(s.storage(), "wal"), filepath.Join(s.storage(), "backlog"))
	}
	l.to = time.Now()
	// What was done meanwhile may show or not.
	if pid, again := w.agent.running(); pid != l.pid || !again.Equal(since) {
		l.pid = 0
	}
	return l
}

// askStatus runs the command that people and monitoring systems run.
func (w *world) askStatus(ctx context.Context) (code int, headline string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.program.path, "status", "--url="+w.url)
	cmd.Env = append(os.Environ(), asCommand)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 2, err.Error()
	}
	headline, _, _ = strings.Cut(string(out)+errs.String(), "\n")
	return cmd.ProcessState.ExitCode(), headline
}

func askDelivery(ctx context.Context, url string) ([]seen, error) {
	var answer struct {
		Data struct {
			Destinations []seen `json:"destinations"`
		} `json:"data"`
	}
	err := ask(ctx, url+"/api/v1/status/delivery", &answer)
	return answer.Data.Destinations, err
}

func (w *world) askGoroutines(ctx context.Context) int {
	var answer struct {
		Data struct {
			GoroutineCount int `json:"goroutineCount"`
		} `json:"data"`
	}
	if ask(ctx, w.url+"/api/v1/status/runtimeinfo", &answer) != nil {
		return 0
	}
	return answer.Data.GoroutineCount
}

func ask(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// residentOf is the resident set of a process in bytes, 0 where that is not known.
func residentOf(pid int) int64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if fields := strings.Fields(string(content)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseInt(fields[1], 10, 64)
		return pages * int64(os.Getpagesize())
	}
	return 0
}

// socketsOf is how many sockets a process has open, 0 where that is not known.
func socketsOf(pid int) (sockets int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, _ := os.ReadDir(dir)
	for _, fd := range open {
		if to, _ := os.Readlink(filepath.Join(dir, fd.Name())); strings.HasPrefix(to, "socket:") {
			sockets++
		}
	}
	return sockets
}

// bytesIn sums up files below directories. One that has several names counts once.
func bytesIn(dirs ...string) (sum int64) {
	counted := map[uint64]bool{}
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // it went away meanwhile
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				if counted[s.Ino] {
					return nil
				}
				counted[s.Ino] = true
			}
			sum += info.Size()
			return nil
		})
	}
	return sum
}

// badLines are lines of a log that an agent must not write.
func badLines(log []byte) (bad []string) {
	for line := range strings.Lines(string(log)) {
		for _, sign := range []string{"panic", "fatal error: ", "SIGSEGV", "DATA RACE", "concurrent map"} {
			if strings.Contains(line, sign) {
				bad = append(bad, strings.TrimSpace(line))
				break
			}
		}
	}
	return bad
}
