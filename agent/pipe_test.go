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
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// pipes is a rig whose jobs need files: one for its scrapes, one for an HTTP discovery,
// and one for a file discovery.
type pipes struct {
	*rig

	one      *agenttest.Target // of another job
	address  string            // of what is scraped and discovered
	asked    map[string]*atomic.Int64
	token    string
	found    string
	contents map[string]string // of the files, by their paths
}

func newPipes(t *testing.T) *pipes {
	t.Helper()
	r := newRig(t, agenttest.Manners{})
	r.options.DiscoveryReloadInterval = time.Second
	p := &pipes{
		rig: r, one: r.targets.Add("one", agenttest.TargetOptions{Series: 10}),
		asked: map[string]*atomic.Int64{"/own": {}, "/discovery": {}, "/metrics": {}, "/elsewhere": {}},
		token: filepath.Join(r.dir, "secret"), found: filepath.Join(r.dir, "found.json"),
	}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	p.address = strings.TrimPrefix(server.URL, "http://")
	p.contents = map[string]string{p.token: "secret\n", p.found: `[{"targets": ["` + p.address + `"]}]`}
	p.put()
	r.jobs = fmt.Sprintf(`
  - job_name: guarded
    metrics_path: /own
    authorization: {credentials_file: %[1]s}
    static_configs: [{targets: ['%[2]s']}]
  - job_name: asked
    http_sd_configs: [{url: '%[3]s/discovery', refresh_interval: 300ms, authorization: {credentials_file: %[1]s}}]
  - job_name: found
    authorization: {credentials: secret}
    file_sd_configs: [{files: ['%[4]s'], refresh_interval: 300ms}]
`, p.token, p.address, server.URL, p.found)
	r.start()
	r.awaitState("one", delivery.Live)
	p.more("/own", "/discovery", "/metrics")
	return p
}

// ServeHTTP is asked for samples and for targets, of which there are none.
func (p *pipes) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Authorization") != "Bearer secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.asked[req.URL.Path].Add(1)
	if req.URL.Path == "/discovery" {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, "[]")
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprint(w, "guarded 1\n")
}

// more waits for more requests for each path.
func (p *pipes) more(paths ...string) {
	p.t.Helper()
	for _, path := range paths {
		before := p.asked[path].Load()
		p.eventually("requests for "+path, func() error {
			if n := p.asked[path].Load(); n < before+3 {
				return fmt.Errorf("%d after %d", n, before)
			}
			return nil
		})
	}
}

func (p *pipes) put() {
	p.t.Helper()
	for file, content := range p.contents {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// spoil puts pipes in the place of the files: at once, for a file of targets that is
// not there for a moment takes its targets back.
func (p *pipes) spoil() {
	p.t.Helper()
	for file := range p.contents {
		pipe := file + ".pipe"
		if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Rename(pipe, file)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// putBack puts files in the place of the pipes.
func (p *pipes) putBack() {
	p.t.Helper()
	for file := range p.contents {
		if err := os.Remove(file); err != nil {
			p.t.Fatal(err)
		}
	}
	p.put()
}

func (p *pipes) awaitTargets(want string) {
	p.t.Helper()
	p.eventually(want, func() error {
		b, _, err := p.get("/targets")
		if err != nil || !strings.Contains(string(b), want) {
			return fmt.Errorf("%v: %s", err, b)
		}
		return nil
	})
}

// awaitLog waits until each of the words is logged by a discovery.
func (p *pipes) awaitLog(words ...string) {
	p.t.Helper()
	for _, w := range words {
		p.eventually("the log: "+w, func() error {
			for _, line := range strings.Split(p.log.String(), "\n") {
				if strings.Contains(line, w) && strings.Contains(line, "it is a pipe") && strings.Contains(line, "component=discovery") {
					return nil
				}
			}
			return errors.New("nothing is told of it")
		})
	}
}

// TestPipesWhileScraping: a pipe in the place of a file that a scrape job, its HTTP
// discovery or its file discovery reads costs that job, or what it would discover, and
// nobody else: neither another job, nor a reload, nor the stop waits for it.
func TestPipesWhileScraping(t *testing.T) {
	t.Parallel()
	p := newPipes(t)
	p.spoil()
	p.awaitTargets("it is a pipe")
	p.awaitLog("discovery=http")
	p.more("/metrics") // what the file named before
	p.awaitScrapes(p.one, 3)
	if err := p.reload(); err == nil || !strings.Contains(err.Error(), "it is a pipe") {
		t.Errorf("a reload: %v", err)
	}
	jobs := p.jobs
	p.jobs = "" // what is gone must not be waited for
	if err := p.reload(); err != nil {
		t.Fatal(err)
	}
	p.awaitScrapes(p.one, 3)
	p.putBack()
	p.jobs = jobs
	if err := p.reload(); err != nil {
		t.Fatal(err)
	}
	p.more("/own", "/discovery", "/metrics")
	p.spoil()
	p.awaitScrapes(p.one, 3)
	p.stop()
}

// TestPipesAreReplaced: when the files are back, what they say is used, without a reload.
func TestPipesAreReplaced(t *testing.T) {
	t.Parallel()
	p := newPipes(t)
	p.spoil()
	p.awaitLog("discovery=http", "those that were discovered before are scraped on")
	p.more("/metrics")
	p.contents[p.found] = `[{"targets": ["` + p.address + `"], "labels": {"__metrics_path__": "/elsewhere"}}]`
	p.putBack()
	p.more("/own", "/discovery", "/elsewhere")
	p.awaitTargets("found:[http://" + p.address + "/elsewhere]") // and nothing else
	p.stop()
}
