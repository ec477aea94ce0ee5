package main

import (
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// world is an agent with a target and an endpoint, as a state changes them before the
// start and after all is well.
type world struct {
	*running

	t       *testing.T
	dir     string
	e       *agenttest.Endpoint
	targets *agenttest.Targets
	target  *agenttest.Target
	status  atomic.Value // the last STATUS= that systemd got

	token, write, jobs string // of the configuration
	url                string // of the endpoint
	flags, env         []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	w.e = newEndpoint(t, agenttest.Options{PlainHTTP: true})
	targets, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(targets.Close)
	w.targets, w.target = targets, targets.Add("a", agenttest.TargetOptions{Series: 20})
	w.token = write(t, filepath.Join(w.dir, "token"), agenttest.DefaultToken)
	w.url, w.jobs = w.e.URL(), targets.ScrapeConfig("job", 200*time.Millisecond)
	return w
}

// file writes the configuration.
func (w *world) file() string {
	w.t.Helper()
	config := "scrape_configs:\n" + w.jobs
	if w.url != "" {
		config += fmt.Sprintf("\nremote_write:\n- name: one\n  url: %s\n  authorization: {credentials_file: %s}\n  queue_config: {batch_send_deadline: 200ms, min_backoff: 30ms, max_backoff: 200ms}\n%s", w.url, w.token, w.write)
	} else {
		config += "\nremote_write: []\n"
	}
	return write(w.t, filepath.Join(w.dir, "agent.yml"), config)
}

func (w *world) start() {
	w.t.Helper()
	m := newServiceManager(w.t)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := m.conn.Read(buf)
			if err != nil {
				return
			}
			for line := range strings.Lines(string(buf[:n])) {
				if status, ok := strings.CutPrefix(strings.TrimSpace(line), "STATUS="); ok {
					w.status.Store(status)
				}
			}
		}
	}()
	flags := append([]string{
		"--config.file=" + w.file(), "--storage.agent.path=" + filepath.Join(w.dir, "data"), "--web.listen-address=127.0.0.1:0",
		"--web.enable-lifecycle", "--scrape.discovery-reload-interval=100ms",
	}, w.flags...)
	w.running = start(w.t, append(w.env, "NOTIFY_SOCKET="+m.path), flags...)
}

var (
	heading = regexp.MustCompile(`(?s)<h1>(.*?)</h1>`)
	// figures change from one look to the next.
	figures = regexp.MustCompile(`\d[\d,.]*( (ms|s|m|h|d)\b)?`)
)

// says returns what the command, the page and systemd show, if they agree word for
// word but for figures.
func (w *world) says() (headline string, code int, err error) {
	stdout, stderr, code := runCommand(w.t, "", "status", "--url="+w.running.url)
	headline, _, _ = strings.Cut(stdout, "\n")
	_, page := w.get("/")
	m := heading.FindStringSubmatch(page)
	if m == nil {
		return headline, code, errors.New("the page has no headline")
	}
	status, _ := w.status.Load().(string)
	want := figures.ReplaceAllString(headline, "#")
	shown := figures.ReplaceAllString(html.UnescapeString(m[1]), "#")
	line := figures.ReplaceAllString(status, "#")
	if shown != want || line != want && !strings.HasPrefix(line, want+", ") || stderr != "" {
		return headline, code, fmt.Errorf("status %q, page %q, systemd %q %s", want, shown, line, stderr)
	}
	return headline, code, nil
}

// becomes waits until everybody says the same, and that it is right.
func (w *world) becomes(pattern string, code int) {
	w.t.Helper()
	var headline string
	var got int
	var err error
	w.eventuallyOr("everybody to say "+pattern, func() bool {
		headline, got, err = w.says()
		return err == nil && got == code && regexp.MustCompile("^"+pattern).MatchString(headline)
	}, func() string { return fmt.Sprintf("%q, code %d, %v", headline, got, err) })
}

// eventuallyOr is eventually, and says how it is if it does not become so.
func (w *world) eventuallyOr(what string, cond func() bool, how func() string) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * patience); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waiting for %s: %s", what, how())
		}
	}
}

func (w *world) reload() (status int) {
	status, _ = w.request(http.MethodPost, "/-/reload")
	return status
}

// answers makes the endpoint give one answer to everything.
func answers(status int, body string) func(w *world) {
	return func(w *world) { w.e.Respond(agenttest.Answer{Status: status, Body: body}) }
}

// TestOneVerdict puts the agent into states, each with a real endpoint, and compares
// what the command status, its exit code, the page and systemd's status line say: all
// the same, and that is right.
func TestOneVerdict(t *testing.T) {
	t.Parallel()
	const well = "All is well$"
	for name, c := range map[string]struct {
		before func(w *world) // the start
		after  func(w *world) // all is well
		says   string
		code   int
	}{
		"well":              {nil, nil, well, 0},
		"unconfirmed":       {func(w *world) { w.e.Respond(agenttest.Answer{Delay: 25 * time.Second}) }, nil, "one has not acknowledged anything yet", 1},
		"never confirmed":   {func(w *world) { w.e.Respond(agenttest.Answer{Delay: time.Hour}) }, nil, "one (has never acknowledged anything|takes nothing), the oldest sample waits for", 1},
		"wrong token":       {func(w *world) { write(w.t, w.token, "wrong") }, nil, "one takes nothing.*: server returned HTTP status 401 Unauthorized", 1},
		"no token file":     {func(w *world) { os.Remove(w.token) }, nil, "one takes nothing.*token: no such file or directory", 1},
		"unknown host":      {func(w *world) { w.url = "http://nowhere.invalid/api/v1/push" }, nil, "one takes nothing.*lookup nowhere.invalid", 1},
		"nothing listens":   {func(w *world) { w.url = "http://127.0.0.1:1/api/v1/push" }, nil, "one takes nothing.*connection refused", 1},
		"unknown authority": {func(w *world) { w.url = newEndpoint(w.t, agenttest.Options{}).URL() }, nil, "one takes nothing.*certificate", 1},
		"http to TLS": {func(w *world) {
			w.url = strings.Replace(newEndpoint(w.t, agenttest.Options{}).URL(), "https", "http", 1)
		}, nil, "one takes nothing.*in front of the receiver", 1},
		"TLS to http":    {func(w *world) { w.url = strings.Replace(w.url, "http", "https", 1) }, nil, "one takes nothing.*HTTP response to HTTPS client", 1},
		"redirect":       {func(w *world) { w.url = newEndpoint(w.t, agenttest.Options{}).PlainURL() }, nil, "one takes nothing.*HTTP status 308", 1},
		"wrong path":     {func(w *world) { w.url = strings.Replace(w.url, "/push", "/other", 1) }, nil, "one takes nothing.*HTTP status 404", 1},
		"no certificate": {func(w *world) { w.write = "  tls_config: {ca_file: /no/ca.pem}\n" }, nil, "one takes nothing: cannot use its certificates or credentials: .*/no/ca.pem", 1},
		"revoked":        {nil, answers(401, "bad authentication token"), "one takes nothing, the oldest sample waits for .*: server returned HTTP status 401 Unauthorized: bad authentication token", 1},
		"forbidden":      {nil, answers(403, ""), "one takes nothing, .* 403 Forbidden", 1},
		"overloaded":     {nil, answers(503, "429-to-503: rate limit"), "one (takes nothing|does not take the last batch, it is sent again), .*HTTP status 503", 1},
		"broken":         {nil, answers(500, "no"), "one (takes nothing|does not take the last batch, it is sent again), .*HTTP status 500", 1},
		"too large":      {nil, answers(413, ""), "one takes nothing, .*413", 1},
		"a page": {nil, func(w *world) {
			w.e.Respond(agenttest.Answer{Status: 400, Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}})
		}, "one takes nothing, .*in front of the receiver", 1},
		"2.0 not taken":      {nil, answers(415, ""), "one takes nothing, .*415", 1},
		"down":               {nil, func(w *world) { w.down() }, "one (takes nothing|does not take the last batch, it is sent again), .*connection refused", 1},
		"down and back":      {nil, func(w *world) { w.down(); w.becomes("one .*connection refused", 1); w.up() }, well, 0},
		"hanging":            {nil, func(w *world) { w.e.Respond(agenttest.Answer{Delay: time.Hour}) }, "one (does not answer|takes nothing|does not take the last batch), .*", 1},
		"a series refused":   {nil, func(w *world) { w.refuseSeries() }, "one.* refuses? ", 1},
		"everything refused": {nil, answers(400, "user=default: err: out of bounds"), "one refused .* samples.*out of bounds", 1},
		"reload refused":     {nil, func(w *world) { write(w.t, filepath.Join(w.dir, "agent.yml"), "global: {nonsense: 1}\n"); w.reload() }, "The last reload was refused: .*nonsense", 1},
		"refused and mended": {nil, func(w *world) {
			write(w.t, filepath.Join(w.dir, "agent.yml"), "global: {nonsense: 1}\n")
			w.reload()
			w.file()
			w.reload()
		}, well, 0},
		"file differs": {nil, func(w *world) { w.jobs += "  # a comment\n"; w.file() }, "The configuration file is not the one in force", 1},
		"restart needed": {func(w *world) { w.jobs += hostJob }, func(w *world) {
			w.jobs = strings.Replace(w.jobs, "cpu: true", "cpu: false", 1)
			w.file()
			w.reload()
		}, "The collectors of this host are not those of the configuration", 1},
		"no destination":   {func(w *world) { w.url = "" }, nil, "No destination is configured", 1},
		"destination gone": {nil, func(w *world) { w.url = ""; w.file(); w.reload() }, "(No destination is configured|one is gone)", 1},
		"job left out":     {func(w *world) { w.jobs += jobWith("tls_config: {ca_file: /no/ca.pem}") }, nil, "The scrape job other is left out: .*/no/ca.pem", 1},
		"no failure log":   {func(w *world) { w.jobs += jobWith("scrape_failure_log_file: /no/log") }, nil, "(Scrapes that fail are not logged to /no/log|1 of 2 targets)", 1},
		"target down":      {nil, func(w *world) { w.targets.Remove(w.target) }, "1 of 1 targets is down, http://.*404", 1},
		"no jobs":          {func(w *world) { w.jobs = " []\n" }, nil, "(Nothing is scraped: the configuration has no scrape job|one has not)", 1},
		"no targets":       {func(w *world) { w.jobs = "- job_name: empty\n  static_configs: []\n" }, nil, "(Nothing is scraped: there are no targets|one has not)", 1},
		"too many series":  {func(w *world) { w.flags = append(w.flags, "--limits.max-series=10") }, nil, "Series are dropped, .*--limits.max-series=10: job/a", 1},
		"little memory":    {func(w *world) { w.env = append(w.env, "GOMEMLIMIT=5MiB") }, nil, "(The memory is nearly used up|Series are dropped.*the memory)", 1},
		"disk full":        {func(w *world) { w.flags = append(w.flags, "--storage.min-free-bytes=1000TiB") }, nil, "The disk (is full|cannot be written), new samples are refused", 1},
		"budget used up": {func(w *world) {
			w.flags = append(w.flags, "--storage.backlog.max-bytes=1MiB", "--storage.agent.wal-segment-size=64KiB", "--delivery.max-live-lag=2s")
			w.targets.Add("large", agenttest.TargetOptions{Series: 3000})
			w.jobs = w.targets.ScrapeConfig("job", 200*time.Millisecond)
		}, func(w *world) { w.down() }, "The disk budget is used up: ", 1},
		"killed": {nil, func(w *world) {
			w.cmd.Process.Kill()
			<-w.done
			w.start()
		}, well, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if c.before != nil {
				c.before(w)
			}
			w.start()
			if c.after != nil {
				w.becomes(well, 0)
				c.after(w)
			}
			w.becomes(c.says, c.code)
		})
	}
}

func (w *world) down() {
	if err := w.e.Down(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) up() {
	if err := w.e.Up(); err != nil {
		w.t.Fatal(err)
	}
}

// refuseSeries makes the endpoint refuse one series for what it is.
func (w *world) refuseSeries() {
	w.e.RespondIf(func(in *agenttest.Incoming) *agenttest.Answer {
		for _, series := range in.Write.GetTimeseries() {
			for _, l := range series.Labels {
				if l.Name == "__name__" && l.Value == "up" {
					return &agenttest.Answer{Status: 400, Body: "user=default: err: label value too long: up", Store: true}
				}
			}
		}
		return nil
	})
}

// hostJob is about this host.
const hostJob = "  - job_name: node\n    scrape_interval: 1s\n    host_sd_configs: [{instance: edge, collectors: {cpu: true}}]\n"

// jobWith is a job of its own with a target that nothing listens for.
func jobWith(settings string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return "  - job_name: other\n    scrape_interval: 200ms\n    scrape_timeout: 200ms\n    " + settings + "\n    static_configs: [{targets: ['" + l.Addr().String() + "']}]\n"
}
