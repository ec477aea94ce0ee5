package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// others are servers that are no agent, in the way of an agent's address.
func others(t *testing.T) (urls map[string]string) {
	t.Helper()
	urls = map[string]string{"DEAD": "http://127.0.0.1:1"}
	for name, status := range map[string]int{"MISSING": 404, "PASSWORD": 401, "STARTING": 503, "BROKEN": 500, "OTHER": 200} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>what is not an agent's</html>", status)
		}))
		t.Cleanup(s.Close)
		urls[name] = s.URL
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	s.StartTLS()
	t.Cleanup(s.Close)
	urls["TLS"] = "http://" + s.Listener.Addr().String()
	return urls
}

// wrongInput is what goes wrong with each command, and what is told then. The words in
// capitals are addresses of others.
var wrongInput = []struct {
	args, want, hint string
}{
	{"run --bogus", "unknown long flag '--bogus'", "--help' lists"},
	{"run --log.level=loud", "--log.level=loud: enum value must be one of", "write it like info"},
	{"run --storage.sync-interval=5", `--storage.sync-interval=5: not a valid duration string`, "30s, 5m or 1d"},
	{"run --storage.backlog.max-bytes 12x", "--storage.backlog.max-bytes=12x: units: unknown unit", "512MiB"},
	{"run --limits.labels=many", "--limits.labels=many is not a number", "write it like 0"},
	{"--limits.labels=many", "--limits.labels=many is not a number", "write it like 0"},
	{"run --storage.agent.pat=x", "unknown long flag", "did you mean --storage.agent.path?"},
	{"run --web.remote-write-receiver.accepted-protobuf-messages=v2", "enum value must be one of", "write it like prometheus.WriteRequest or io.prometheus.write.v2.Request; "},
	{"run --config.file=missing.yml", "missing.yml: cannot read the configuration: no such file or directory", "--config.file"},
	{"run --config.file=folder", "folder: cannot read the configuration: is a directory", "file in that folder"},
	{"run --config.file=typo.yml", "typo.yml:1: field scrape_confgs not found", "did you mean scrape_configs"},
	{"run --config.file=good.yml --web.config.file=missing.yml", "missing.yml: no such file", "create what is missing"},
	{"run --config.file=good.yml --enable-feature=zstd-scrap", "unknown feature", "did you mean zstd-scrape?"},
	{"run --config.file=good.yml --web.listen-address=USED", "address already in use", "another process has this port"},
	{"-x", "unknown short flag '-x'", "--help' lists"},
	{"sttaus", "unexpected sttaus", "did you mean 'status'?"},
	{"status --url=DEAD", "connection refused", "is it running?"},
	{"status --url=MISSING", "HTTP 404", "something else answers there"},
	{"status --url=PASSWORD", "HTTP 401", "--http.config.file"},
	{"status --url=OTHER", "the answer is not an agent's", "something else answers there"},
	{"status --url=TLS", "HTTP 400", "write https://"},
	{"status --url=host", "is not an http or https URL", "http://127.0.0.1:9095"},
	{"status --http.config.file=missing.yml", "--http.config.file: open missing.yml: no such file", "create what is missing"},
	{"status --http.config.file=typo.yml", "--http.config.file: ", "promtool's"},
	{"status --jsn", "unknown long flag '--jsn'", "did you mean --json?"},
	{"check config missing.yml", "no such file", "--config.file"},
	{"check config folder", "is a directory", "file in that folder"},
	{"check config typo.yml", "field scrape_confgs not found", "did you mean scrape_configs"},
	{"check config token.yml", "open missing: no such file", "create the file or correct the path"},
	{"check config good.yml --as=nosuchuser", "unknown user nosuchuser", "name the user who runs the agent"},
	{"check config good.yml extra", "unexpected", "--help' lists"},
	{"check config folder/locked.yml", "permission denied", "let the user that runs the agent read the file"},
	{"check config token-locked.yml", "permission denied", "for the installed service, with sudo"},
	{"check config good.yml --as=root", "only root can read as somebody else", "sudo"},
	{"check push good.yml", "good.yml has no destination", "opstrace-agent init"},
	{"check push missing.yml", "no such file", "--config.file"},
	{"check push token.yml --as=nosuchuser", "unknown user nosuchuser", "name the user"},
	{"check targets missing.yml", "no such file", "--config.file"},
	{"check targets good.yml", "good.yml has no scrape job", "opstrace-agent init"},
	{"check targets good.yml --limits.labels=-1", "cannot be negative", "defaults"},
	{"check targets good.yml --limits.body-size=big", "--limits.body-size=big: units:", "512MiB"},
	{"check tragets", "expected command but got", "did you mean 'targets'?"},
	{"init", "required flag(s)", "--help' lists"},
	{"init --cluster=c --tenant=T_1", "is not a tenant's name", "lower-case letters"},
	{"init --cluster=c --tenant=t --label=a-b=c", "is not the name of a label", "--label=site=berlin"},
	{"init --cluster=c --tenant=t --from=missing.yml", "open missing.yml: no such file", "--from"},
	{"init --cluster=c --tenant=t --from=folder", "is a directory", "--from"},
	{"init --cluster=c --tenant=t --from=typo.yml", "field scrape_confgs not found", "did you mean scrape_configs"},
	{"init --cluster=c --tenant=t --from=cut.yml", "cut.yml: yaml: ", "promtool"},
	{"init --cluster=c --tenant=t --output=none/x.yml", "open none/x.yml: no such file", "create what is missing"},
	{"init --cluster=c --tenant=t --output=good.yml/x", "not a directory", "what should be a folder is none"},
	{"init --cluster=c --tenant=t --output=good.yml", "good.yml exists", "--force"},
	{"init --cluster=c --tenant=t --output=folder --force", "open folder: is a directory", "file in that folder"},
	{"init --cluster=c --tenant=t --output=/proc/x.yml --no-host-label", "/proc/x.yml", "create what is missing"},
	{"forget", "required argument 'name' not provided", "--help' lists"},
	{"forget a --url=DEAD", "connection refused", "start the agent"},
	{"forget a --url=MISSING", "the agent answers 404 Not Found: <html>", "something else answers there"},
	{"forget a --url=PASSWORD", "the agent answers 401", "--http.config.file"},
	{"forget a --url=STARTING", "the agent answers 503", "try again"},
	{"forget a --url=TLS", "the agent answers 400", "https://"},
	{"reload --url=DEAD", "the agent does not answer over HTTP", "name its address with --url"},
	{"reload --url=MISSING", "the agent does not answer over HTTP: 404", "name its address with --url"},
	{"reload --url=BROKEN", "what is not an agent's", "reload again"},
	{"reload --url=DEAD --pid=99999999 -- --config.file=good.yml", "cannot signal process 99999999: no such process", "name a process that runs"},
	{"reload --url=DEAD --pid=99999999 -- --config.file=missing.yml", "no such file", "--config.file"},
	{"reload --pid=x", "--pid=x is not a number", "--help' tells"},
	{"reload -- --web.listen-adress=x", "unknown long flag '--web.listen-adress'", "did you mean --web.listen-address?"},
	{"reload --url=host", "is not an http or https URL", "http://127.0.0.1:9095"},
	{"version extra", "unexpected", "--help' lists"},
	{"help sttaus", "there is no such command", "did you mean 'status'?"},
	{"help check targts", "there is no such command", "did you mean 'targets'?"},
	{"help status more", "there is no such command", "--help' lists"},
}

// TestEveryErrorHasAHint walks all commands with wrong input.
func TestEveryErrorHasAHint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "good.yml"), "scrape_configs: []\n")
	write(t, filepath.Join(dir, "typo.yml"), "scrape_confgs: []\n")
	write(t, filepath.Join(dir, "cut.yml"), "scrape_configs: [{\n")
	write(t, filepath.Join(dir, "token.yml"), "remote_write:\n- {name: far, url: 'http://127.0.0.1:1/', bearer_token_file: missing}\n")
	locked := write(t, filepath.Join(dir, "folder", "locked.yml"), "scrape_configs: []\n")
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "token-locked.yml"), "remote_write:\n- {name: far, url: 'http://127.0.0.1:1/', bearer_token_file: folder/locked.yml}\n")
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	address := others(t)
	address["USED"] = used.Addr().String()
	capitals := regexp.MustCompile(`[A-Z]{3,}`)

	for _, tc := range wrongInput {
		t.Run(tc.args, func(t *testing.T) {
			if os.Geteuid() == 0 && (strings.Contains(tc.args, "locked.yml") || strings.Contains(tc.args, "--as=root")) {
				t.Skip("root may")
			}
			args := capitals.ReplaceAllStringFunc(tc.args, func(s string) string { return address[s] })
			_, stderr, code := runCommand(t, dir, strings.Fields(args)...)
			at := strings.Index("\n"+stderr, "\nerror: ")
			if code == 0 || at < 0 {
				t.Fatalf("code %d, %q", code, stderr)
			}
			told, hint, found := strings.Cut(stderr[at:], "\nhint: ")
			if !found || strings.Contains(hint, "\nhint: ") || strings.TrimSpace(hint) == "" {
				t.Fatalf("not one hint: %q", stderr)
			}
			if !strings.Contains(told, tc.want) || !strings.Contains(hint, tc.hint) {
				t.Errorf("got %q", stderr)
			}
		})
	}
	for _, c := range newCLI(nil, nil).app.Model().FlattenedCommands() {
		name := strings.Fields(c.FullCommand)
		if walked := strings.Join(name[:min(2, len(name))], " "); !strings.Contains(fmt.Sprint(wrongInput), "{"+walked) {
			t.Errorf("no wrong input for %s", c.FullCommand)
		}
	}
}

// TestGoneHint: who has deleted the service's configuration is told how to write it
// anew; its name is right.
func TestGoneHint(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, serviceConfig)
	_, err := scrapeconfig.ReadFile(file, log.NewNopLogger())
	conf := (*scrapeconfig.Error)(nil)
	if !errors.As(err, &conf) {
		t.Fatalf("%v", err)
	}
	if hint := goneHint(conf, root); hint != "" {
		t.Errorf("no service is installed: %q", hint)
	}
	write(t, filepath.Join(root, serviceUnits[0]), "")
	if hint := goneHint(conf, root); !strings.Contains(hint, "opstrace-agent init --cluster ") || !strings.Contains(hint, "-o "+file) {
		t.Errorf("%q", hint)
	}
	_, err = scrapeconfig.ReadFile(filepath.Join(root, "other.yml"), log.NewNopLogger())
	if !errors.As(err, &conf) || goneHint(conf, root) != "" {
		t.Errorf("another file: %v", err)
	}
	_, err = scrapeconfig.ReadFile(write(t, file, "rule_files: [a]\n"), log.NewNopLogger())
	if !errors.As(err, &conf) || goneHint(conf, root) != "" {
		t.Errorf("it is there: %v", err)
	}
}
