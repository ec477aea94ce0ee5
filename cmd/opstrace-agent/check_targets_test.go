package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/limits"
)

func TestCheckTargets(t *testing.T) {
	var accept, agentName string
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		accept, agentName = r.Header.Get("Accept"), r.UserAgent()
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "requests_total{path=\"/\x1b[2J\"} 1\ndebug_a 1\ndebug_b 2\nseen_twice 1\nseen_twice 1\n")
	}))
	defer target.Close()
	address := target.Listener.Addr().String()
	file := write(t, filepath.Join(t.TempDir(), "c.yml"), fmt.Sprintf(`
scrape_configs:
- job_name: good
  static_configs:
  - targets: ['%s']
    labels: {hostile: "\u001b[31m"}
  metric_relabel_configs: [{source_labels: [__name__], regex: debug_a, action: drop}]
- job_name: bad
  metrics_path: /nothing
  static_configs: [{targets: ['%[1]s']}]
- job_name: none
  file_sd_configs: [{files: [none/*.yml]}]
- job_name: dropped
  static_configs: [{targets: ['%[1]s', '127.0.0.1:1']}]
  relabel_configs: [{action: drop}]
remote_write:
- {name: all, url: 'http://127.0.0.1:1/'}
- name: some
  url: http://127.0.0.1:1/
  write_relabel_configs: [{source_labels: [__name__], regex: debug_b, action: drop}]
`, address))
	stdout, stderr, code := runCommand(t, "", "check", "targets", file)
	if code != exitFailed || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_targets.golden", stdout, filepath.Dir(file), "DIR")
	if !strings.Contains(accept, "application/openmetrics-text") || !strings.HasPrefix(agentName, appName+"/") {
		t.Errorf("the target was asked by %q for %q", agentName, accept)
	}

	file = write(t, filepath.Join(t.TempDir(), "c.yml"), "scrape_configs: [{job_name: good, static_configs: [{targets: ['"+address+"']}]}]\n")
	stdout, stderr, code = runCommand(t, "", "check", "targets", file)
	if code != 0 || stderr != "" {
		t.Errorf("code %d, %q", code, stderr)
	}
	compareGolden(t, "check_targets_good.golden", stdout)
}

// TestJudgeOf: by the flags that are given and, for the file of the installed service,
// by those that it has, as run would.
func TestJudgeOf(t *testing.T) {
	for name, tc := range map[string]struct {
		args    string // of the service; "-": there is none
		other   bool   // file than the service's
		given   runFlags
		memory  string // memory.max of the service
		want    limits.Limits
		enabled agent.Features
		ratio   float64
		service bool
		bytes   uint64
	}{
		"no service":        {args: "-", want: limits.Limits{}, ratio: 0.9},
		"its own flags":     {args: "--limits.max-series=100 --limits.label-length=1KiB", want: limits.Limits{MaxSeries: 100, LabelLength: 1024}, ratio: 0.9, service: true},
		"what is given":     {args: "--limits.max-series=100 --limits.labels=5", given: runFlags{maxSeries: 7}, want: limits.Limits{MaxSeries: 7, Labels: 5}, ratio: 0.9, service: true},
		"its features":      {args: "--enable-feature=type-and-unit-labels,agent --enable-feature=zstd-scrape", enabled: agent.Features{TypeAndUnitLabels: true, ZstdScrape: true}, ratio: 0.9, service: true},
		"more features":     {args: "--enable-feature=zstd-scrape", given: runFlags{features: []string{"openmetrics2"}}, enabled: agent.Features{OpenMetrics2: true, ZstdScrape: true}, ratio: 0.9, service: true},
		"others' features":  {args: "--enable-feature=zstd-scrape", other: true, given: runFlags{features: []string{"openmetrics2"}}, enabled: agent.Features{OpenMetrics2: true}, ratio: 0.9},
		"another file":      {args: "--limits.max-series=100", other: true, given: runFlags{labels: 9}, want: limits.Limits{Labels: 9}, ratio: 0.9},
		"its memory":        {args: "--auto-gomemlimit.ratio=0.5", memory: "104857600\n", ratio: 0.5, bytes: 104857600},
		"the whole host":    {memory: "max\n", ratio: 0.9},
		"no memory":         {args: "--no-auto-gomemlimit", memory: "104857600\n", bytes: 104857600},
		"all else it knows": {args: "--agent --web.listen-address=:1 --config.auto-reload", ratio: 0.9},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if tc.args != "-" {
				write(t, filepath.Join(root, serviceUnits[0]), "")
				write(t, filepath.Join(root, serviceFlags), "ARGS=\""+tc.args+"\"\n")
			}
			if tc.memory != "" {
				write(t, filepath.Join(root, "sys/fs/cgroup/system.slice/opstrace-agent.service/memory.max"), tc.memory)
			}
			file := filepath.Join(root, serviceConfig)
			if tc.other {
				file = filepath.Join(root, "other.yml")
			}
			j, err := judgeOf(file, &tc.given, root)
			if err != nil {
				t.Fatal(err)
			}
			if j.limits != tc.want || j.features != tc.enabled || j.ratio != tc.ratio || j.service != tc.service {
				t.Errorf("got %+v", j)
			}
			own, errOwn := ownMemory()
			if tc.bytes == 0 {
				tc.bytes = own
			}
			if got, err := j.memory(); got != tc.bytes || (err != nil) != (errOwn != nil && got == own) {
				t.Errorf("memory %d, %v", got, err)
			}
		})
	}
}

// TestJudgeOfABrokenService: flags with which the service cannot start are told.
func TestJudgeOfABrokenService(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, serviceUnits[0]), "")
	for args, want := range map[string]string{
		"--limits.max-serie=1": "the installed service cannot start: unknown long flag '--limits.max-serie'",
		"--limits.labels=-1":   "the installed service cannot start: --limits.body-size, ",
		"--enable-feature=x":   "the installed service cannot start: unknown feature \"x\"",
		"--query.timeout=1m":   "the installed service cannot start: --query.timeout is not a flag of opstrace-agent",
	} {
		write(t, filepath.Join(root, serviceFlags), "ARGS="+args+"\n")
		_, err := judgeOf(filepath.Join(root, serviceConfig), &runFlags{}, root)
		if usage := (*usageError)(nil); !errors.As(err, &usage) || !strings.HasPrefix(usage.msg, want) || !strings.HasSuffix(usage.hint, "; its flags are in ARGS in /etc/default/opstrace-agent, and in ExecStart= of its unit") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestFeaturesOfTargets: targets are asked, read and sent as the agent would with the
// features that it is given.
func TestFeaturesOfTargets(t *testing.T) {
	t.Parallel()
	var encoding atomic.Value
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		encoding.Store(r.Header.Get("Accept-Encoding"))
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, "# TYPE a counter\na 1\n# TYPE b gauge\nb 2\n")
	}))
	defer target.Close()
	file := write(t, filepath.Join(t.TempDir(), "c.yml"), fmt.Sprintf(`
scrape_configs: [{job_name: a, static_configs: [{targets: [%q]}]}]
remote_write: [{name: d, url: "http://127.0.0.1:1/", write_relabel_configs: [{source_labels: [__type__], regex: counter, action: drop}]}]
`, target.Listener.Addr()))
	for _, tc := range []struct{ flag, encoding, sent string }{
		{"", "gzip", "to d: 7 samples, "},
		{"--enable-feature=zstd-scrape,type-and-unit-labels,st-synthesis", "zstd,gzip", "to d: 6 samples, "},
		{"--enable-feature=extra-scrape-metrics", "gzip", "to d: 10 samples, "},
	} {
		args := []string{"check", "targets", file}
		if tc.flag != "" {
			args = append(args, tc.flag)
		}
		stdout, stderr, code := runCommand(t, "", args...)
		if code != 0 || stderr != "" || encoding.Load() != tc.encoding || !strings.Contains(stdout, tc.sent) || strings.Contains(stdout, "not taken") {
			t.Errorf("%s: code %d, %q, asked for %q\n%s", tc.flag, code, stderr, encoding.Load(), stdout)
		}
	}
	const unknown = "error: unknown feature \"zstd\"\nhint: "
	if _, stderr, code := runCommand(t, "", "check", "targets", file, "--enable-feature=zstd"); code != exitUsage || !strings.HasPrefix(stderr, unknown) {
		t.Errorf("code %d, %q", code, stderr)
	}
}

// TestSeriesCeilingOfTargets: more series than the agent takes are a failure, and as many
// are told as the running agent drops of a scrape.
func TestSeriesCeilingOfTargets(t *testing.T) {
	t.Parallel()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for i := range 200 {
			fmt.Fprintf(w, "m%d 1\n", i)
		}
	}))
	defer target.Close()
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "c.yml"), "global: {scrape_interval: 1s}\nscrape_configs: [{job_name: a, static_configs: [{targets: ['"+target.Listener.Addr().String()+"']}]}]\n")
	stdout, stderr, code := runCommand(t, "", "check", "targets", file, "--limits.max-series=160")
	const want = "\nFAIL  205 series in all, of which 80 would be dropped: --limits.max-series takes 160, the last quarter of them from targets with less than 10\n"
	if code != exitFailed || stderr != "" || !strings.Contains(stdout, want) {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}
	if stdout, stderr, code := runCommand(t, "", "check", "targets", file, "--limits.max-series=300"); code != 0 || strings.Contains(stdout, "FAIL") {
		t.Errorf("code %d, %q\n%s", code, stderr, stdout)
	}

	r := start(t, nil, "--config.file="+file, "--storage.agent.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--limits.max-series=160")
	dropped := 0
	r.eventually("it drops some", func() bool {
		dropped, _ = strconv.Atoi(r.metric(`opstrace_agent_limits_dropped_samples_total{reason="max_series"}`))
		return dropped > 0
	})
	if dropped%80 != 0 {
		t.Errorf("the agent drops %d, which is not 80 of each scrape", dropped)
	}
}
