package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang/snappy"
	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// With this in its environment the test binary is the sandbox.
const asSandbox = "OPSTRACE_SANDBOX_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asSandbox) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

type running struct {
	t *testing.T
	addresses
	lines *bufio.Scanner
}

// start runs a sandbox until the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	dir := t.TempDir()
	o, err := parse(append([]string{"--dir", dir}, args...))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, o, w)
		_ = w.Close()
	}()
	s := &running{t: t, lines: bufio.NewScanner(r)}
	s.await("files ")
	content, err := os.ReadFile(filepath.Join(dir, addressFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, &s.addresses))
	t.Cleanup(func() {
		cancel()
		for s.lines.Scan() {
		}
		require.NoError(t, <-done)
		require.NoFileExists(t, filepath.Join(dir, addressFile))
		require.FileExists(t, s.Token)
	})
	return s
}

// await reads lines up to one with prefix.
func (s *running) await(prefix string) string {
	s.t.Helper()
	for s.lines.Scan() {
		if strings.HasPrefix(s.lines.Text(), prefix) {
			return s.lines.Text()
		}
	}
	s.t.Fatalf("no line with %q", prefix)
	return ""
}

func (s *running) call(method, path string) (int, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.Control+path, http.NoBody)
	require.NoError(s.t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	return resp.StatusCode, string(body)
}

func (s *running) post(path string) {
	s.t.Helper()
	status, body := s.call(http.MethodPost, path)
	require.Equal(s.t, 200, status, body)
}

func (s *running) stats() (out stats) {
	s.t.Helper()
	status, body := s.call(http.MethodGet, "/stats")
	require.Equal(s.t, 200, status)
	require.NoError(s.t, json.Unmarshal([]byte(body), &out))
	return out
}

// write pushes a scrape of target t0 as upstream's write client does, with the
// files that the sandbox wrote.
func (s *running) write(timestamp, ordinal int64) error {
	s.t.Helper()
	u, err := url.Parse(s.Push)
	require.NoError(s.t, err)
	client, err := remote.NewWriteClient("test", &remote.ClientConfig{
		URL:     &config_util.URL{URL: u},
		Timeout: model.Duration(10 * time.Second),
		HTTPClientConfig: config_util.HTTPClientConfig{
			Authorization: &config_util.Authorization{Type: "Bearer", CredentialsFile: s.Token},
			TLSConfig:     config_util.TLSConfig{CAFile: s.CA},
		},
	})
	require.NoError(s.t, err)
	body, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: agenttest.ScrapesMetric}, {Name: "target", Value: "t0"}},
		Samples: []prompb.Sample{{Timestamp: timestamp, Value: float64(ordinal)}},
	}}}).Marshal()
	require.NoError(s.t, err)
	_, err = client.Store(s.t.Context(), snappy.Encode(nil, body), 0)
	return err
}

// scrape answers target t0 once.
func (s *running) scrape() {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(strings.TrimSuffix(s.SD, "/sd") + "/t/t0/metrics")
	require.NoError(s.t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(s.t, err)
}

func TestFiles(t *testing.T) {
	s := start(t, "--targets=3", "--target.interval=7s", "--token=secret")
	info, err := os.Stat(s.Token)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	token, err := os.ReadFile(s.Token)
	require.NoError(t, err)
	require.Equal(t, "secret\n", string(token))
	require.Equal(t, os.Getpid(), s.PID)
	require.True(t, strings.HasPrefix(s.Push, "https://127.0.0.1:"), s.Push)

	scrape, err := os.ReadFile(s.Scrape)
	require.NoError(t, err)
	cfg, err := config.Load(string(scrape), nil)
	require.NoError(t, err)
	require.Len(t, cfg.ScrapeConfigs, 1)
	require.Equal(t, model.Duration(7*time.Second), cfg.ScrapeConfigs[0].ScrapeInterval)
	require.Len(t, cfg.ScrapeConfigs[0].ServiceDiscoveryConfigs[0], 3)
}

func TestStats(t *testing.T) {
	s := start(t)
	now := time.Now().UnixMilli()
	for range 4 {
		s.scrape()
	}
	require.NoError(t, s.write(now, 1))
	require.NoError(t, s.write(now+2, 3))
	require.Error(t, s.write(now+1, 2))
	require.NoError(t, s.write(now+2, 3))
	got := s.stats()
	require.Equal(t, targetStats{Answered: 4, Stored: 2, Missing: 1, Pending: 1}, got.Targets["t0"])
	require.Len(t, got.Targets, 5)
	require.Equal(t, tenantStats{
		Series: 1, Accepted: 2, Acknowledged: 3, Duplicates: 1, Refused: map[agenttest.Reason]int64{agenttest.OutOfOrder: 1}, Lost: 1,
		Answers: map[int]agenttest.Tally{200: {Requests: 3, Samples: 3}, 400: {Requests: 1, Samples: 1}},
	}, got.Tenants["default"])
	require.False(t, got.InOrder)
	require.Contains(t, got.Disorder, "out of order")
	require.Equal(t, 1, got.MaxInFlight)
}

func TestControl(t *testing.T) {
	s := start(t)
	now := time.Now().UnixMilli()
	s.post("/respond?status=409&count=1&body=500-to-409:+empty+ring")
	require.ErrorContains(t, s.write(now, 1), "409 Conflict: 500-to-409: empty ring")
	require.NoError(t, s.write(now, 1))
	s.post("/respond?status=503&for=1h&retry_after=3")
	require.ErrorContains(t, s.write(now+1, 2), "503")
	s.post("/recover")
	s.post("/respond?status=500&store=true")
	require.ErrorContains(t, s.write(now+1, 2), "500")
	s.post("/respond?reset=true")
	require.ErrorContains(t, s.write(now+2, 3), "reset")
	s.post("/recover")

	s.post("/down")
	require.ErrorContains(t, s.write(now+2, 3), "refused")
	s.post("/up")
	s.post("/tls?state=untrusted")
	require.ErrorContains(t, s.write(now+2, 3), "x509")
	s.post("/tls?state=trusted")

	s.post("/token?token=other&write=false")
	require.ErrorContains(t, s.write(now+2, 3), "401 Unauthorized: bad authentication token")
	s.post("/token?token=other")
	require.NoError(t, s.write(now+2, 3))
	s.post("/token")
	require.ErrorContains(t, s.write(now+3, 4), "401")

	require.EqualValues(t, 3, s.stats().Tenants["default"].Accepted)
	require.EqualValues(t, 2, s.stats().Tenants[""].Answers[401].Requests)
	for _, path := range []string{"/respond?status=x", "/respond?status=99", "/respond?for=y", "/respond?count=1&for=1s", "/respond?count=-1", "/tls?state=x"} {
		status, body := s.call(http.MethodPost, path)
		require.Equal(t, 400, status, path)
		require.NotEmpty(t, body)
	}
	status, _ := s.call(http.MethodGet, "/down")
	require.Equal(t, http.StatusMethodNotAllowed, status)
}

func TestReport(t *testing.T) {
	s := start(t, "--report-interval=20ms", "--keep=scrapes")
	s.scrape()
	require.NoError(t, s.write(time.Now().UnixMilli(), 1))
	for !strings.Contains(s.await(""), "acknowledged 1 samples") {
	}
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"'--dir' not provided":      nil,
		"--window":                  {"--dir=x", "--window=0s"},
		"enum value must be one of": {"--dir=x", "--keep=none"},
		"is negative":               {"--dir=x", "--targets=-1"},
	} {
		_, err := parse(args)
		require.ErrorContains(t, err, want)
	}
	o, err := parse([]string{"--dir=x", "--remote-write-2=accept", "--window=-1s", "--out-of-order-window=1h", "--all-or-nothing", "--rate-limit=100"})
	require.NoError(t, err)
	require.Equal(t, agenttest.Manners{
		Window: -time.Second, OutOfOrderWindow: time.Hour, RateLimit: 100, RemoteWrite2: agenttest.AcceptRemoteWrite2, AllOrNothing: true,
	}, o.endpoint.Manners)

	_, err = newSandbox(options{controlAddr: "300.0.0.1:0", targetsAddr: "127.0.0.1:0"})
	require.ErrorContains(t, err, "cannot serve the control API")
}

func TestSignals(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0], "--dir", dir)
		cmd.Env = append(os.Environ(), asSandbox+"=1")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "files ") {
		}
		require.FileExists(t, filepath.Join(dir, addressFile))
		require.NoError(t, cmd.Process.Signal(sig))
		require.True(t, lines.Scan())
		require.Contains(t, lines.Text(), "in all    0 samples in 0 series")
		require.NoError(t, cmd.Wait(), stderr.String())
		require.Empty(t, stderr.String())
		require.NoFileExists(t, filepath.Join(dir, addressFile))
	}
}
