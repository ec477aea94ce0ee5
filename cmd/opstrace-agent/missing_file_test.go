package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// destination as the API shows it.
func (r *running) destination(name string) delivery.Status {
	r.t.Helper()
	for _, d := range r.status().Destinations {
		if d.Name == name {
			return d
		}
	}
	return delivery.Status{}
}

// tellsOfMissing checks that all say that a destination has to wait for a file, and
// that a reload is refused.
func (r *running) tellsOfMissing(name, file string) {
	r.t.Helper()
	if d := r.destination(name); !strings.HasPrefix(d.Why, "cannot use its certificates or credentials: ") {
		r.t.Errorf("why: %q", d.Why)
	}
	stdout, _, code := runCommand(r.t, "", "status", "--url="+r.url)
	if !strings.Contains(stdout, name+" takes nothing: ") || !strings.Contains(stdout, file) || code != exitFailed {
		r.t.Errorf("the status does not tell, %d:\n%s", code, stdout)
	}
	if _, page := r.get("/"); !strings.Contains(page, name+" takes nothing") || !strings.Contains(page, file) {
		r.t.Error("the page does not tell")
	}
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, fmt.Sprintf("remote_write %q: ", name)) || !strings.Contains(body, file) {
		r.t.Errorf("a reload: %d %s", code, body)
	}
	const said = `msg="Nothing can be sent until the files that the connection needs can be used`
	r.awaitLog(said)
	if n := strings.Count(r.log.String(), said); n != 1 {
		r.t.Errorf("logged %d times", n)
	}
}

// TestDestinationWithoutItsFile: a start goes on although a file that one destination
// needs is missing. The others get theirs, what that one has to get is kept, all say
// why, and it goes on by itself when the file is there. A reload is refused.
func TestDestinationWithoutItsFile(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		extra   string // of the remote_write entry
		content func(*agenttest.Endpoint) string
		refused bool // a reload; else upstream reads the file at each request
		pipe    bool // it is not missing, but a pipe
	}{
		"certificate":     {"  tls_config: {ca_file: %s}\n  authorization: {credentials: " + agenttest.DefaultToken + "}\n", func(e *agenttest.Endpoint) string { return string(e.CA()) }, true, false},
		"token":           {"  tls_config: {insecure_skip_verify: true}\n  bearer_token_file: %s\n", func(*agenttest.Endpoint) string { return agenttest.DefaultToken }, false, false},
		"token by a pipe": {"  tls_config: {insecure_skip_verify: true}\n  bearer_token_file: %s\n", func(*agenttest.Endpoint) string { return agenttest.DefaultToken }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			secured := newEndpoint(t, agenttest.Options{})
			plain := newEndpoint(t, agenttest.Options{PlainHTTP: true})
			targets, err := agenttest.NewTargets("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(targets.Close)
			target := targets.Add("a", agenttest.TargetOptions{Series: 10})
			dir := t.TempDir()
			absent := filepath.Join(dir, "file")
			if tc.pipe {
				if err := syscall.Mkfifo(absent, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			const queue = "  queue_config: {batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 200ms}\n"
			file := write(t, filepath.Join(dir, "c.yml"), "scrape_configs:\n"+targets.ScrapeConfig("job", 100*time.Millisecond)+
				fmt.Sprintf("\nremote_write:\n- name: secured\n  url: %s\n%s%s- name: plain\n  url: %s\n  authorization: {credentials: %s}\n%s",
					secured.URL(), fmt.Sprintf(tc.extra, absent), queue, plain.URL(), agenttest.DefaultToken, queue))
			flags := []string{"--config.file=" + file, "--storage.agent.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0"}
			r := start(t, nil, flags...)
			stored := func(e *agenttest.Endpoint) bool {
				return len(target.Answered()) > 5 && e.Snapshot().Scrapes(target, "", time.Now().Add(-time.Second)).Err() == nil
			}
			r.eventually("the other destination gets its samples", func() bool { return stored(plain) })
			r.eventually("it is told that they are kept", func() bool {
				d := r.destination("secured")
				return (d.State == delivery.Behind || !tc.refused) && strings.Contains(d.LastError, absent) && d.Ledger.OnDisk >= 50
			})
			if tc.refused {
				r.tellsOfMissing("secured", absent)
			}
			// A stop and another start without the file lose nothing.
			r.signal(syscall.SIGTERM)
			if code, took := r.wait(); code != 0 {
				t.Errorf("code %d after %s", code, took)
			}
			r = start(t, nil, flags...)
			putBack(t, absent, tc.content(secured))
			r.eventually("it goes on by itself", func() bool { return r.destination("secured").State == delivery.Live })
			r.eventually("it gets everything", func() bool { return stored(secured) })
			if lost := secured.Snapshot().Lost(); len(lost) > 0 {
				t.Errorf("lost: %v", lost[0])
			}
			r.eventually("the ledger adds up", func() bool {
				l := r.destination("secured").Ledger
				return l.Appended == l.Sum() && l.Lost == 0
			})
			if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
				t.Errorf("a reload: %d %s", code, body)
			}
		})
	}
}

// TestTracingWithoutItsFile: a start goes on without traces, and sends them when the
// file is there; a reload is refused.
func TestTracingWithoutItsFile(t *testing.T) {
	t.Parallel()
	ca := newEndpoint(t, agenttest.Options{}).CA()
	dir := t.TempDir()
	absent := filepath.Join(dir, "ca.pem")
	file := write(t, filepath.Join(dir, "c.yml"), configWith("first")+fmt.Sprintf("tracing: {endpoint: '127.0.0.1:1', client_type: http, tls_config: {ca_file: %s}}\n", absent))
	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	r.eventually("the job is scraped", func() bool { return r.hasPool("first") })
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, "tracing: ") || !strings.Contains(body, absent) {
		t.Errorf("a reload: %d %s", code, body)
	}
	write(t, absent, string(ca))
	r.awaitLog(`msg="Traces are sent"`)
	const said = `msg="No traces are sent until the files that tracing needs can be used"`
	r.awaitLog(said)
	if n := strings.Count(r.log.String(), said); n != 1 {
		t.Errorf("logged %d times", n)
	}
	if code, body := r.request(http.MethodPost, "/-/reload"); code != http.StatusOK {
		t.Errorf("a reload: %d %s", code, body)
	}
}
