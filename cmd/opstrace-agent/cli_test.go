package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent"
)

// The exact words of what goes wrong on the command line, and the exit codes.
func TestCommandLineErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yml"), "")
	write(t, filepath.Join(dir, "bad.yml"), "global:\n  scrape_interval: 5\n")
	write(t, filepath.Join(dir, "unknown.yml"), "global:\n\nscrape_config: []\n")
	write(t, filepath.Join(dir, "rules.yml"), "rule_files: [a.yml]\n")
	write(t, filepath.Join(dir, "token.yml"), "remote_write:\n- {name: far, url: 'http://127.0.0.1:1/', bearer_token_file: none}\n")
	write(t, filepath.Join(dir, "web.yml"), "basic_auth_users: {a: plain}\n")
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	_, port, err := net.SplitHostPort(used.Addr().String())
	if err != nil {
		t.Fatal(err)
	}

	const lists = "hint: 'opstrace-agent --help' lists the commands and flags\n"
	good := "--config.file=good.yml --web.listen-address=127.0.0.1:0 "
	for _, tc := range []struct {
		args string
		code int
		want string // DIR stands for the folder
	}{
		{"--bogus", 2, "error: unknown long flag '--bogus'\n" + lists},
		{"bogus", 2, "error: unexpected bogus\n" + lists},
		{"run bogus", 2, "error: unexpected bogus\nhint: 'opstrace-agent run --help' lists the commands and flags\n"},
		{"check", 2, "error: must select a subcommand of 'check'\nhint: 'opstrace-agent check --help' lists the commands and flags\n"},
		{"statsu", 2, "error: unexpected statsu\nhint: did you mean 'status'?\n"},
		{"check confg", 2, "error: expected command but got \"confg\"\nhint: did you mean 'config'?\n"},
		{"check config --prnt", 2, "error: unknown long flag '--prnt'\nhint: did you mean --print?\n"},
		{"check config --bogus", 2, "error: unknown long flag '--bogus'\nhint: 'opstrace-agent check config --help' lists the commands and flags\n"},
		{"--config.flie=x", 2, "error: unknown long flag '--config.flie'\nhint: did you mean --config.file?\n"},
		{"status --config.file=x", 2, "error: unknown long flag '--config.file'\nhint: that is a flag of 'opstrace-agent run'\n"},
		{"check config", 2, "error: DIR/opstrace-agent.yml: cannot read the configuration: no such file or directory\nhint: name the file with --config.file\n"},
		{"check config --config.file=bad.yml", 2, "error: bad.yml:2: not a valid duration string: \"5\"\n"},
		{"--log.level=loud", 2, "error: --log.level=loud: enum value must be one of debug,info,warn,error, got 'loud'\nhint: write it like info; 'opstrace-agent --help' tells what it is\n"},
		{"", 2, "error: DIR/opstrace-agent.yml: cannot read the configuration: no such file or directory\nhint: name the file with --config.file\n"},
		{"--config.file=bad.yml", 2, "error: DIR/bad.yml:2: not a valid duration string: \"5\"\n"},
		{"--config.file=unknown.yml", 2, "error: DIR/unknown.yml:3: field scrape_config not found in type config.plain\n"},
		{"--config.file=rules.yml", 2, "error: DIR/rules.yml:1: field rule_files is not allowed in agent mode\n"},
		{"check config bad.yml", 2, "error: bad.yml:2: not a valid duration string: \"5\"\n"},
		{"check config token.yml", 2, "error: token.yml:2: bearer_token_file: open none: no such file or directory\nhint: create the file or correct the path: the agent would start, and fail where it needs it\n"},
		{"--storage.tsdb.path=data", 2, "error: --storage.tsdb.path is not a flag of opstrace-agent\nhint: use --storage.agent.path for the directory and --storage.backlog.max-bytes for the bound\n"},
		{"--storage.tsdb.path=data --query.timeout=2m --web.enable-otlp-receiver", 2, "error: --storage.tsdb.path, --query.timeout are not flags of opstrace-agent\nhint: remove them: an agent neither queries nor evaluates rules; its storage has --storage.agent.path and --storage.backlog.max-bytes\n"},
		{"--query.timeout=2m --query.max-samples=3", 2, "error: --query.timeout, --query.max-samples are not flags of opstrace-agent\nhint: remove them: they belong to a Prometheus server, and an agent neither queries nor evaluates rules\n"},
		{"--agent --query.timeout=2m", 2, "error: --query.timeout is not a flag of opstrace-agent\nhint: remove it: it belongs to a Prometheus server, and an agent neither queries nor evaluates rules\n"},
		{good + "--receive.max-rate=-1", 2, "error: --receive.max-rate cannot be negative\nhint: 0 means any number\n"},
		{good + "--receive.tenant-label=a-b", 2, "error: --receive.tenant-label=a-b is no name of a label for that\nhint: letters, digits and _ only, such as __tenant__\n"},
		{good + "--receive.tenant-label=__name__", 2, "error: --receive.tenant-label=__name__ is no name of a label for that\nhint: letters, digits and _ only, such as __tenant__\n"},
		{good + "--receive.sync", 2, "error: --receive.sync is for receivers, and none is enabled\nhint: enable one by --web.enable-remote-write-receiver or --web.enable-otlp-receiver, or leave it out\n"},
		{good + "--receive.max-series=0", 2, "error: --receive.max-series is for receivers, and none is enabled\nhint: enable one by --web.enable-remote-write-receiver or --web.enable-otlp-receiver, or leave it out\n"},
		{good + "--receive.tenant-label= --receive.sync --receive.max-rate=10000", 2, "error: --receive.sync, --receive.max-rate, --receive.tenant-label are for receivers, and none is enabled\nhint: enable one by --web.enable-remote-write-receiver or --web.enable-otlp-receiver, or leave them out\n"},
		{good + "--web.listen-address=unix:", 2, "error: --web.listen-address=unix: names no socket\nhint: write it like unix:/run/opstrace-agent/agent.sock\n"},
		{"status --url=unix:", 2, "error: --url=unix: names no socket\nhint: write it like unix:/run/opstrace-agent/agent.sock\n"},
		{"reload --url=unix:", 2, "error: --url=unix: names no socket\nhint: write it like unix:/run/opstrace-agent/agent.sock\n"},
		{good + "--auto-gomemlimit.ratio=2", 2, "error: --auto-gomemlimit.ratio=2 is not above 0 and at most 1\nhint: leave it out for 0.9\n"},
		{good + "--storage.agent.wal-segment-size=1000B", 2, "error: --storage.agent.wal-segment-size=1000B is not a multiple of 32KiB\nhint: leave it out: it follows from --storage.backlog.max-bytes\n"},
		{good + "--config.auto-reload-interval=0s", 2, "error: --config.auto-reload-interval=0s is shorter than a second\nhint: leave it out for 30s\n"},
		{good + "--delivery.max-catch-up-rate=-1", 2, "error: --delivery.max-catch-up-rate cannot be negative\nhint: 0 means no bound\n"},
		{good + "--web.max-connections=0", 2, "error: --web.max-connections must be at least 1\nhint: leave it out for 512\n"},
		{good + "--web.external-url=host/agent", 2, "error: --web.external-url=host/agent is not an http or https URL\nhint: write it like https://host.example.org/agent\n"},
		{good + "--enable-feature=zstd-scrape,bogus", 2, "error: unknown feature \"bogus\"\nhint: known features are extra-scrape-metrics, metadata-wal-records, openmetrics2, otlp-deltatocumulative, otlp-native-delta-ingestion, st-storage, st-synthesis, type-and-unit-labels, zstd-scrape\n"},
		{good + "--enable-feature=promql-experimental-functions", 2, "error: feature \"promql-experimental-functions\" belongs to a Prometheus server\nhint: remove it: an agent neither queries nor evaluates rules\n"},
		{good + "--enable-feature=remote-write-receiver", 2, "error: feature \"remote-write-receiver\" is a flag of its own\nhint: give --web.enable-remote-write-receiver in its place\n"},
		{good + "--enable-feature=otlp-write-receiver", 2, "error: feature \"otlp-write-receiver\" is a flag of its own\nhint: give --web.enable-otlp-receiver in its place\n"},
		{good + "--enable-feature=created-timestamp-zero-ingestion", 2, "error: feature \"created-timestamp-zero-ingestion\" is not supported: after every restart it would send one old zero sample per counter, which the endpoint refuses as out of order\nhint: use st-storage, which sends start timestamps by remote write 2.0\n"},
		{good + "--web.config.file=web.yml", 2, "error: web configuration file web.yml: crypto/bcrypt: hashedSecret too short to be a bcrypted password\nhint: the format is described at https://prometheus.io/docs/prometheus/latest/configuration/https/\n"},
		{"--config.file=good.yml --web.listen-address=" + used.Addr().String(), 1, "error: cannot listen: listen tcp " + used.Addr().String() + ": bind: address already in use\nhint: another process has this port: 'ss -ltnp sport = :" + port + "', as root, names it; stop that one, or choose another with --web.listen-address (an installed service: in ARGS in /etc/default/opstrace-agent)\n"},
		{"--config.file=good.yml --web.listen-address=192.0.2.1:9095", 1, "error: cannot listen: listen tcp 192.0.2.1:9095: bind: cannot assign requested address\nhint: this host does not have that address: choose another with --web.listen-address (an installed service: in ARGS in /etc/default/opstrace-agent)\n"},
		{"--config.file=good.yml --web.listen-address=9095", 1, "error: cannot listen: listen tcp: address 9095: missing port in address\nhint: write it like 127.0.0.1:9095, or choose another with --web.listen-address (an installed service: in ARGS in /etc/default/opstrace-agent)\n"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			stdout, stderr, code := runCommand(t, dir, strings.Fields(tc.args)...)
			want := strings.ReplaceAll(tc.want, "DIR", dir)
			// The log comes before the error, and hints of the configuration's
			// own are another package's to test.
			_, got, _ := strings.Cut("\n"+stderr, "\nerror: ")
			got = "error: " + got
			if !strings.Contains(want, "\nhint: ") {
				got, _, _ = strings.Cut(got, "hint: ")
			}
			if code != tc.code || got != want {
				t.Errorf("code %d instead of %d\n got: %q\nwant: %q", code, tc.code, got, want)
			}
			if stdout != "" && !strings.HasPrefix(tc.args, "check config") {
				t.Errorf("on standard output: %q", stdout)
			}
		})
	}
}

func TestCheckConfig(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), "s3cret")
	write(t, filepath.Join(dir, "c.yml"), `
opstrace: {cluster: c, tenant: t, token_file: token}
scrape_configs:
- job_name: a
  static_configs: [{targets: [h]}]
  basic_auth: {username: u, password: pl4in}
- job_name: b
  file_sd_configs: [{files: [later/*.yml]}]
`)
	stdout, stderr, code := runCommand(t, dir, "check", "config", "c.yml")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "c.yml is valid: 2 scrape configs, 1 destination\nnote: ") || strings.Count(stdout, "\n") != 2 {
		t.Errorf("code %d\n%q\n%q", code, stdout, stderr)
	}
	stdout, stderr, code = runCommand(t, dir, "check", "config", "--print", "c.yml")
	if code != 0 || stderr != "" || strings.Contains(stdout, "s3cret") || strings.Contains(stdout, "pl4in") || strings.Contains(stdout, "opstrace:") {
		t.Errorf("code %d\n%s\n%q", code, stdout, stderr)
	}
	if !strings.Contains(stdout, "https://cortex.t.c.opstrace.io/api/v1/push") {
		t.Errorf("the block is not expanded:\n%s", stdout)
	}
}

func TestHelpAndVersion(t *testing.T) {
	stdout, stderr, code := runCommand(t, "", "--help")
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, %q", code, stderr)
	}
	for _, f := range visibleFlags() {
		if !strings.Contains(strings.ReplaceAll(stdout, "[no-]", ""), "--"+f.Name) {
			t.Errorf("--%s is not in the help", f.Name)
		}
	}
	for _, hidden := range []string{"--agent\n", "--storage.tsdb", "--delivery.min-stay"} {
		if strings.Contains(stdout, hidden) {
			t.Errorf("%s is in the help", hidden)
		}
	}
	for _, args := range []string{"version", "--version"} {
		stdout, stderr, code := runCommand(t, "", args)
		if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "opstrace-agent, version ") {
			t.Errorf("%s: %d %q %q", args, code, stdout, stderr)
		}
	}
}

func TestFeatures(t *testing.T) {
	defaults := config.DefaultConfig
	defaultGlobal := config.DefaultGlobalConfig
	defer func() { config.DefaultConfig, config.DefaultGlobalConfig = defaults, defaultGlobal }()

	f := &runFlags{features: []string{"metadata-wal-records, st-storage", "auto-reload-config,native-histograms", "extra-scrape-metrics"}}
	got, err := f.parseFeatures()
	if err != nil {
		t.Fatal(err)
	}
	if want := (agent.Features{MetadataWALRecords: true, STStorage: true}); got != want {
		t.Errorf("%+v instead of %+v", got, want)
	}
	if !f.autoReload || len(f.notices) != 2 {
		t.Errorf("auto-reload %v, notices %q", f.autoReload, f.notices)
	}
	cfg, err := config.Load("scrape_configs: [{job_name: a}]", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p := cfg.ScrapeConfigs[0].ScrapeProtocols[0]; p != config.PrometheusProto {
		t.Errorf("with st-storage %s is asked for first", p)
	}
	if e := cfg.ScrapeConfigs[0].ExtraScrapeMetrics; e == nil || !*e {
		t.Error("extra-scrape-metrics changes nothing")
	}
}
