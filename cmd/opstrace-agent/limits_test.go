package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// limited is the real process on a small host, with a configuration that has one
// job "good" of n targets and the jobs that are given.
func limited(t *testing.T, n int, jobs string, flags ...string) (r *running, e *agenttest.Endpoint, good []*agenttest.Target) {
	t.Helper()
	e, err := agenttest.NewEndpoint(agenttest.Options{PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	for i := range n {
		good = append(good, targets.Add(fmt.Sprintf("good-%d", i), agenttest.TargetOptions{Series: 10}))
	}
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "prometheus.yml"), fmt.Sprintf(`
remote_write:
- {name: one, url: %q, authorization: {credentials: %s}, metadata_config: {send: false}, queue_config: {batch_send_deadline: 300ms}}
scrape_configs:
%s%s`, e.URL(), agenttest.DefaultToken, targets.ScrapeConfig("good", time.Second), jobs))
	args := append([]string{
		"--config.file=" + file, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--web.enable-remote-write-receiver", "--no-scrape.adjust-timestamps",
	}, flags...)
	return start(t, []string{"GOMEMLIMIT=64MiB"}, args...), e, good
}

// answering is a job with one target that answers always the same.
func answering(t *testing.T, job, settings string, body []byte) string {
	t.Helper()
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	targets.Add(job, agenttest.TargetOptions{Answer: func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write(body)
		return true
	}})
	return targets.ScrapeConfig(job, 2*time.Second) + settings
}

func (r *running) status() (s agent.Status) {
	r.t.Helper()
	_, body := r.get("/api/v1/status/delivery")
	var answer struct{ Data *agent.Status }
	answer.Data = &s
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		r.t.Fatalf("%v: %s", err, body)
	}
	return s
}

// nothingLost checks that the neighbours' scrapes are all stored, and that the
// ledger adds up.
func (r *running) nothingLost(e *agenttest.Endpoint, good []*agenttest.Target) {
	r.t.Helper()
	now := time.Now()
	for _, target := range good {
		var err error
		r.eventually("every scrape of "+target.Name+" is stored", func() bool {
			err = e.Snapshot().Scrapes(target, "", now).Err()
			return err == nil
		})
	}
	for _, d := range r.status().Destinations {
		if l := d.Ledger; l.Appended != l.Sum() || l.Appended == 0 {
			r.t.Errorf("the ledger does not add up: %+v", l)
		}
	}
}

// TestHugeLabelBesideGoodTargets: the real process with its defaults.
func TestHugeLabelBesideGoodTargets(t *testing.T) {
	t.Parallel()
	body := []byte("huge{label=\"" + strings.Repeat("x", 50<<20) + "\"} 1\n")
	r, e, good := limited(t, 20, answering(t, "huge", "", body))
	r.eventually("the scrape fails", func() bool {
		_, body := r.get("/api/v1/targets")
		return strings.Contains(body, `"lastError":"body size limit exceeded"`)
	})
	for _, target := range good {
		if err := target.Await(t.Context(), 4); err != nil {
			t.Fatal(err)
		}
	}
	r.nothingLost(e, good)
	r.signal(syscall.SIGTERM)
	if code, _ := r.wait(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// TestSeriesBesideGoodTargets: 300,000 series of one target, whose answer the file
// allows, on a host that has room for 8,192. The others come later, as after a start.
func TestSeriesBesideGoodTargets(t *testing.T) {
	t.Parallel()
	var body bytes.Buffer
	for i := range 300_000 {
		fmt.Fprintf(&body, "many_series_of_one_target{number=\"%d\"} 1\n", i)
	}
	r, e, good := limited(t, 20, answering(t, "many", "    body_size_limit: 15MB\n", body.Bytes()))
	for _, target := range good {
		if err := target.Await(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	r.eventually("series are dropped", func() bool {
		s := r.status()
		return s.Limits != nil && len(s.Limits.Worst) > 0
	})
	s := r.status()
	if s.Limits.MaxSeries != 8192 || s.Limits.Series > 8192 {
		t.Errorf("%+v", s.Limits)
	}
	for reason, worst := range s.Limits.Worst {
		if worst[0].Job != "many" {
			t.Errorf("%s: %+v", reason, worst)
		}
	}
	r.metricsInDocuments()
	r.nothingLost(e, good)
}
