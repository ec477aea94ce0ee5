package agent_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// TestPipesWhileScraping: a pipe in the place of a file that a scrape job, its HTTP
// discovery or its file discovery reads costs that job, or what it would discover, and
// nobody else: neither another job, nor a reload, nor the stop waits for it. When the
// file is back, the job is scraped again.
func TestPipesWhileScraping(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 10})
	var scraped, asked atomic.Int64
	guarded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if req.URL.Path == "/discovery" {
			asked.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "[]")
			return
		}
		scraped.Add(1)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "guarded 1\n")
	}))
	t.Cleanup(guarded.Close)
	address := strings.TrimPrefix(guarded.URL, "http://")
	token, found := filepath.Join(r.dir, "secret"), filepath.Join(r.dir, "found.json")
	contents := map[string]string{token: "secret\n", found: `[{"targets": ["` + address + `"]}]`}
	put := func() {
		for file, content := range contents {
			writeFile(t, filepath.Dir(file), filepath.Base(file), []byte(content))
		}
	}
	put()
	r.jobs = fmt.Sprintf(`
  - job_name: guarded
    authorization: {credentials_file: %[1]s}
    static_configs: [{targets: ['%[2]s']}]
  - job_name: asked
    http_sd_configs: [{url: '%[3]s/discovery', refresh_interval: 1s, authorization: {credentials_file: %[1]s}}]
  - job_name: found
    authorization: {credentials: secret}
    file_sd_configs: [{files: ['%[4]s'], refresh_interval: 1s}]
`, token, address, guarded.URL, found)
	r.start()
	r.awaitState("one", delivery.Live)
	more := func(what string, of *atomic.Int64) {
		t.Helper()
		before := of.Load()
		r.eventually(what, func() error {
			if of.Load() < before+3 {
				return fmt.Errorf("%d times after %d", of.Load(), before)
			}
			return nil
		})
	}
	more("scrapes", &scraped)
	more("discoveries", &asked)

	for file := range contents {
		if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("the scrape to fail", func() error {
		b, _, err := r.get("/targets?job=guarded")
		if err != nil || !strings.Contains(string(b), "it is a pipe") {
			return fmt.Errorf("%v: %s", err, b)
		}
		return nil
	})
	r.eventually("the refresh to fail", func() error {
		for _, line := range strings.Split(r.log.String(), "\n") {
			if strings.Contains(line, "it is a pipe") && strings.Contains(line, "component=discovery") {
				return nil
			}
		}
		return errors.New("nothing is told of it")
	})
	more("what the file named before", &scraped)
	r.awaitScrapes(one, 3)
	if err := r.reload(); err == nil || !strings.Contains(err.Error(), "it is a pipe") {
		t.Errorf("a reload: %v", err)
	}
	jobs := r.jobs
	r.jobs = "" // what is gone must not be waited for
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 3)
	for file := range contents {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	put()
	r.jobs = jobs
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	more("scrapes", &scraped)
	more("discoveries", &asked)
	if err := errors.Join(os.Remove(token), syscall.Mkfifo(token, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.awaitScrapes(one, 3)
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	put()
	more("discoveries without a reload", &asked)
	for file := range contents {
		if err := errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitScrapes(one, 3)
	r.stop()
}
