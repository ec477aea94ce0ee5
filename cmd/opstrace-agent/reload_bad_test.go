package main

import (
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
)

// spoilt are files that were not meant, each made of one that was.
var spoilt = []struct {
	name  string
	spoil func(t *testing.T, file, good string)
	err   string
}{
	{"empty", func(t *testing.T, file, _ string) { write(t, file, "") }, "the file looks cut: it is empty, and the one in force has 1"},
	{"cut between the sections", func(t *testing.T, file, good string) {
		write(t, file, good[:strings.Index(good, "scrape_configs")])
	}, "the file looks cut: it has no scrape job, and the one in force has 1"},
	{"cut in a line", func(t *testing.T, file, good string) {
		write(t, file, good[:strings.Index(good, "rst\n")])
	}, "the file looks cut: it is the beginning of the one in force, and ends in the middle of it"},
	{"without its destinations", func(t *testing.T, file, good string) {
		write(t, file, good[strings.Index(good, "scrape_configs"):])
	}, "the file looks cut: it has no destination, and the one in force has 1"},
	{"binary", func(t *testing.T, file, _ string) { write(t, file, "\x7fELF\x02\x01\x01\x00\x00\x00") }, "control characters are not allowed"},
	{"a pipe", func(t *testing.T, file, _ string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(file, 0o600); err != nil {
			t.Fatal(err)
		}
	}, "it is a pipe, not a regular file"},
	{"vanished", func(t *testing.T, file, _ string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}, "no such file or directory"},
}

// putBack writes the file anew, whatever has its name: a write to a pipe would wait.
func putBack(t *testing.T, file, good string) {
	t.Helper()
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	write(t, file, good)
}

func (r *running) reloadSuccessful() string {
	r.t.Helper()
	return r.metric("opstrace_agent_config_last_reload_successful")
}

// runsOn tells when the first configuration is not in force any more.
func (r *running) runsOn(t *testing.T) {
	t.Helper()
	_, status := r.get("/api/v1/status/delivery")
	if !r.hasPool("first") || !strings.Contains(status, `"name":"dead"`) || strings.Contains(status, `"kept"`) {
		t.Errorf("the old configuration does not keep running: %s", status)
	}
}

// TestReloadOfSpoiltFiles: a file that was cut, emptied or removed is refused, by
// every way to ask for a reload, and what is in force runs on.
func TestReloadOfSpoiltFiles(t *testing.T) {
	r, file := startWith(t, nil)
	r.eventually("the first configuration is in force", func() bool { return r.hasPool("first") })
	good := configWith("first")
	for _, c := range spoilt {
		t.Run(c.name, func(t *testing.T) {
			c.spoil(t, file, good)
			if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, c.err) || !strings.Contains(body, "\nhint: ") && c.name != "binary" {
				t.Errorf("%d %s", code, body)
			}
			r.runsOn(t)
			putBack(t, file, good)
			if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK || r.reloadSuccessful() != "1" {
				t.Errorf("the good file: %d %s", code, body)
			}
			c.spoil(t, file, good)
			r.signal(syscall.SIGHUP)
			r.eventually("it is refused", func() bool { return r.reloadSuccessful() == "0" })
			r.runsOn(t)
		})
	}
	putBack(t, file, "remote_write: []\nscrape_configs: []\n")
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		t.Errorf("nothing at all, in its own words: %d %s", code, body)
	}
	r.eventually("nothing is scraped", func() bool { return !r.hasPool("first") })
}

// TestAutoReloadOfSpoiltFiles: the same without anybody asking; and when the old
// content is back, all is well again.
func TestAutoReloadOfSpoiltFiles(t *testing.T) {
	r, file := startWith(t, nil, "--config.auto-reload", "--config.auto-reload-interval=1s")
	r.eventually("the first configuration is in force", func() bool { return r.hasPool("first") })
	good := configWith("first")
	for _, c := range spoilt {
		t.Run(c.name, func(t *testing.T) {
			c.spoil(t, file, good)
			r.eventually("it is refused", func() bool { return r.reloadSuccessful() == "0" })
			r.awaitLog(c.err)
			r.runsOn(t)
			putBack(t, file, good)
			r.eventually("the old file is good again", func() bool { return r.reloadSuccessful() == "1" })
			r.runsOn(t)
		})
	}
}
