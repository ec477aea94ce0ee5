package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"go.uber.org/goleak"

	"github.com/opstrace/opstrace-agent/agent"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// startAgent runs an agent with a configuration until the test ends.
func startAgent(t testing.TB, yaml string) *agent.Agent {
	t.Helper()
	cfg, err := config.Load(yaml, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Options{StoragePath: t.TempDir(), MaxClockWait: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("agent: %v", err)
		}
	})
	eventually(t, "the agent is ready", a.Ready)
	return a
}

// idleAgent is one that has not been started.
func idleAgent(t *testing.T) *agent.Agent {
	t.Helper()
	a, err := agent.New(agent.Options{StoragePath: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// serve runs a server on loopback until the test ends.
func serve(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Agent == nil {
		o.Agent = idleAgent(t)
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	if len(o.ListenAddresses) == 0 {
		o.ListenAddresses = []string{"127.0.0.1:0"}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

type request struct {
	method, url string
	header      http.Header
	host        string
	client      *http.Client
}

// do returns status and body.
func (r request) do(t *testing.T) (int, string, http.Header) {
	t.Helper()
	if r.method == "" {
		r.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range r.header {
		req.Header[k] = v
	}
	req.Host = r.host
	client := r.client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestHealthyAndReady(t *testing.T) {
	s := serve(t, Options{})
	base := "http://" + s.Addrs()[0].String()
	if code, body, _ := (request{url: base + "/-/healthy"}).do(t); code != 200 || body != "opstrace-agent is Healthy.\n" {
		t.Errorf("healthy: %d %q", code, body)
	}
	if code, body, _ := (request{url: base + "/-/ready"}).do(t); code != 503 || !strings.HasPrefix(body, "Service Unavailable") {
		t.Errorf("ready before the start: %d %q", code, body)
	}
	s = serve(t, Options{Agent: startAgent(t, "")})
	base = "http://" + s.Addrs()[0].String()
	if code, body, _ := (request{url: base + "/-/ready"}).do(t); code != 200 || body != "opstrace-agent is Ready.\n" {
		t.Errorf("ready: %d %q", code, body)
	}
	if code, body, _ := (request{method: http.MethodHead, url: base + "/-/ready"}).do(t); code != 200 || body != "" {
		t.Errorf("ready by HEAD: %d %q", code, body)
	}
}

func TestReload(t *testing.T) {
	var outcome error
	calls := 0
	o := Options{Reload: func(context.Context) error { calls++; return outcome }}
	s := serve(t, o)
	reload := "http://" + s.Addrs()[0].String() + "/-/reload"

	for _, method := range []string{http.MethodPost, http.MethodPut} {
		calls, outcome = 0, nil
		if code, body, _ := (request{method: method, url: reload}).do(t); code != 200 || body != "" || calls != 1 {
			t.Errorf("%s: %d %q, %d calls", method, code, body, calls)
		}
	}
	outcome = errors.New("a.yml:3: no")
	if code, body, _ := (request{method: http.MethodPost, url: reload}).do(t); code != 500 || body != "failed to reload config: a.yml:3: no\n" {
		t.Errorf("a failed reload: %d %q", code, body)
	}

	calls = 0
	for name, tc := range map[string]struct {
		request
		want int
	}{
		"GET":                             {request{method: http.MethodGet}, 405},
		"a page of another site":          {request{method: http.MethodPost, header: http.Header{"Sec-Fetch-Site": {"cross-site"}}}, 403},
		"another origin":                  {request{method: http.MethodPost, header: http.Header{"Origin": {"https://example.org"}}}, 403},
		"a name that points to 127.0.0.1": {request{method: http.MethodPost, host: "rebound.example.org"}, 403},
		"the same, with its port":         {request{method: http.MethodPost, host: "rebound.example.org:9095"}, 403},
	} {
		tc.url = reload
		if code, body, _ := tc.do(t); code != tc.want {
			t.Errorf("%s: %d %q", name, code, body)
		}
	}
	if calls != 0 {
		t.Errorf("%d refused requests reached the reload", calls)
	}
	for _, host := range []string{"localhost", "localhost:9095", "127.0.0.1:1", "[::1]", "[::1]:9095"} {
		outcome = nil
		if code, body, _ := (request{method: http.MethodPost, url: reload, host: host}).do(t); code != 200 {
			t.Errorf("Host %s: %d %q", host, code, body)
		}
	}
}

// TestReloadWaits: the answer says what waits for a restart, and is empty once nothing does.
func TestReloadWaits(t *testing.T) {
	const yaml = "scrape_configs: [{job_name: node, host_sd_configs: [{collectors: {cpu: %t}}]}]\n"
	a := startAgent(t, fmt.Sprintf(yaml, true))
	cpu := false
	s := serve(t, Options{Agent: a, Reload: func(context.Context) error {
		cfg, err := config.Load(fmt.Sprintf(yaml, cpu), nil)
		if err != nil {
			return err
		}
		return a.Apply(cfg)
	}})
	reload := request{method: http.MethodPost, url: "http://" + s.Addrs()[0].String() + "/-/reload"}
	const want = "The collectors of this host are not those of the configuration: they change at a restart only\nhint: restart the agent: "
	if code, body, _ := reload.do(t); code != 200 || !strings.HasPrefix(body, want) {
		t.Errorf("other collectors: %d %q", code, body)
	}
	cpu = true
	if code, body, _ := reload.do(t); code != 200 || body != "" {
		t.Errorf("the collectors of the start: %d %q", code, body)
	}
}

// What is open on loopback is closed elsewhere. A handler without a listener
// stands for an address that is not loopback.
func TestGuardElsewhere(t *testing.T) {
	o := Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry(), Reload: func(context.Context) error { return nil }}
	for name, tc := range map[string]struct {
		set    func(*Options)
		method string
		path   string
		want   int
		text   string
	}{
		"reload":         {nil, http.MethodPost, "/-/reload", 403, "Lifecycle API is not enabled.\nhint: ask through a loopback address, or start with --web.enable-lifecycle\n"},
		"pprof":          {nil, http.MethodGet, "/debug/pprof/", 403, "Profiling is not enabled.\nhint: ask through a loopback address, or start with --web.enable-pprof\n"},
		"heap":           {nil, http.MethodGet, "/debug/pprof/heap", 403, ""},
		"cmdline":        {nil, http.MethodGet, "/debug/pprof/cmdline", 403, ""},
		"forget":         {nil, http.MethodPost, "/-/forget?destination=a", 403, "Lifecycle API is not enabled.\nhint: ask through a loopback address, or start with --web.enable-lifecycle\n"},
		"forget enabled": {func(o *Options) { o.EnableLifecycle = true }, http.MethodPost, "/-/forget?destination=a", 503, "the agent is not ready\n"},
		"reload enabled": {func(o *Options) { o.EnableLifecycle = true }, http.MethodPost, "/-/reload", 200, ""},
		"pprof enabled":  {func(o *Options) { o.EnablePprof = true }, http.MethodGet, "/debug/pprof/cmdline", 200, ""},
	} {
		o := o
		if tc.set != nil {
			tc.set(&o)
		}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(tc.method, "http://127.0.0.1:9095"+tc.path, nil))
		if rec.Code != tc.want || tc.text != "" && rec.Body.String() != tc.text {
			t.Errorf("%s: %d %q", name, rec.Code, rec.Body)
		}
	}
	s := serve(t, Options{})
	if code, _, _ := (request{url: "http://" + s.Addrs()[0].String() + "/debug/pprof/cmdline"}).do(t); code != 200 {
		t.Errorf("pprof on loopback: %d", code)
	}
	for addr, want := range map[string]bool{"127.0.0.1": true, "::1": true, "0.0.0.0": false, "::": false, "192.0.2.1": false} {
		ctx := withListener(t.Context(), &net.TCPAddr{IP: net.ParseIP(addr), Port: 1})
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/-/reload", nil)
		if fromLoopback(r) != want {
			t.Errorf("a listener on %s counts as loopback: %v", addr, !want)
		}
	}
}

func TestMetrics(t *testing.T) {
	good, broken := prometheus.NewRegistry(), prometheus.NewRegistry()
	good.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "fine"}))
	broken.MustRegister(brokenCollector{})
	var logged strings.Builder
	s, err := New(Options{
		Agent:    idleAgent(t),
		Gatherer: prometheus.Gatherers{broken, good},
		Logger:   log.NewLogfmtLogger(&logged),
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != 200 || !strings.Contains(rec.Body.String(), "\nfine 0\n") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if !strings.Contains(logged.String(), "level=warn") || !strings.Contains(logged.String(), "out of order") {
		t.Errorf("not logged: %s", &logged)
	}
}

type brokenCollector struct{}

func (brokenCollector) Describe(chan<- *prometheus.Desc) {}
func (brokenCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "", nil, nil), errors.New("out of order"))
}

func TestRoutePrefix(t *testing.T) {
	s := serve(t, Options{RoutePrefix: "agent/"})
	base := "http://" + s.Addrs()[0].String()
	if code, _, _ := (request{url: base + "/agent/-/healthy"}).do(t); code != 200 {
		t.Errorf("below the prefix: %d", code)
	}
	if code, _, _ := (request{url: base + "/-/healthy"}).do(t); code != 404 {
		t.Errorf("outside of the prefix: %d", code)
	}
	if code, body, _ := (request{url: base + "/"}).do(t); code != 200 || !strings.HasPrefix(body, "<!doctype html>") {
		t.Errorf("the root leads to the prefix: %d %q", code, body)
	}
}

func TestListen(t *testing.T) {
	s := serve(t, Options{})
	again, err := New(Options{Agent: idleAgent(t), Gatherer: prometheus.NewRegistry(), ListenAddresses: []string{"127.0.0.1:0", s.Addrs()[0].String()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot listen: listen tcp "+s.Addrs()[0].String()) {
		t.Errorf("two servers on one address: %v", err)
	}
	if len(again.Addrs()) != 0 {
		t.Error("the address that could be had is still open")
	}
}

// A request that takes longer must not hold up the end of the process.
func TestStopWithRunningRequest(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	s, err := New(Options{
		Agent:           idleAgent(t),
		Gatherer:        prometheus.NewRegistry(),
		ListenAddresses: []string{"127.0.0.1:0"},
		Reload: func(context.Context) error {
			close(started)
			<-release
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	reload := "http://" + s.Addrs()[0].String() + "/-/reload"
	ctx, cancel := context.WithCancel(context.Background())
	done, asked := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx) }()
	go func() {
		defer close(asked)
		if resp, err := http.Post(reload, "", nil); err == nil {
			resp.Body.Close()
			t.Errorf("answered: %s", resp.Status)
		}
	}()
	<-started
	cancel()
	start := time.Now()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < stopGrace {
		t.Errorf("stopping took %s; running requests get %s", took, stopGrace)
	}
	<-asked
	close(release)
	http.DefaultClient.CloseIdleConnections()
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
