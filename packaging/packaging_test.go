// Package packaging holds what is packaged against the program: paths, flags
// and times that are written down in more than one place.
package packaging

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/hostmetrics"
)

const (
	binaryPath = "/usr/bin/opstrace-agent"
	configPath = "/etc/opstrace-agent/opstrace-agent.yml"
	statePath  = "/var/lib/opstrace-agent"
	sharePath  = "/usr/share/opstrace-agent"
	flagsPath  = "/etc/default/opstrace-agent"
)

// agentBinary is the program with what is shipped in it, built once.
var agentBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "packaging")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		agentBinary = filepath.Join(dir, "opstrace-agent")
		build := exec.Command("go", "build", "-o", agentBinary, "../cmd/opstrace-agent")
		build.Env = leanEnvironment()
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build the agent: %s\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// service is the unit file, by "Section.Option".
func service(t *testing.T) map[string][]string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(read(t, "../systemd/opstrace-agent.service")))
	if err != nil {
		t.Fatal(err)
	}
	s := map[string][]string{}
	for _, o := range options {
		s[o.Section+"."+o.Name] = append(s[o.Section+"."+o.Name], o.Value)
	}
	return s
}

func seconds(t *testing.T, s map[string][]string, option string) time.Duration {
	t.Helper()
	v := s["Service."+option]
	if len(v) != 1 {
		t.Fatalf("%s= is there %d times", option, len(v))
	}
	n, err := strconv.Atoi(v[0])
	if err != nil {
		t.Fatalf("%s=%s is not in seconds", option, v[0])
	}
	return time.Duration(n) * time.Second
}

// duration returns a constant of the program, such as 5 * time.Second.
func duration(t *testing.T, file, name string) time.Duration {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../cmd/opstrace-agent", file), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	units := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute}
	var found time.Duration
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || spec.Names[0].Name != name || len(spec.Values) != 1 {
			return true
		}
		factor, value := time.Duration(1), spec.Values[0]
		if product, ok := value.(*ast.BinaryExpr); ok {
			n, err := strconv.Atoi(product.X.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			factor, value = time.Duration(n), product.Y
		}
		found = factor * units[value.(*ast.SelectorExpr).Sel.Name]
		return false
	})
	if found == 0 {
		t.Fatalf("no duration %s in %s", name, file)
	}
	return found
}

func flagDuration(t *testing.T, name string) time.Duration {
	t.Helper()
	d, err := model.ParseDuration(strings.TrimSuffix(flags(t, "run")[name], "..."))
	if err != nil {
		t.Fatalf("--%s: %s", name, err)
	}
	return time.Duration(d)
}

func TestTimes(t *testing.T) {
	s := service(t)
	var (
		stop     = seconds(t, s, "TimeoutStopSec")
		start    = seconds(t, s, "TimeoutStartSec")
		watchdog = seconds(t, s, "WatchdogSec")
		abort    = seconds(t, s, "TimeoutAbortSec")
		restart  = seconds(t, s, "RestartMaxDelaySec")

		stopDeadline = duration(t, "process.go", "stopDeadline")
		flush        = duration(t, "process.go", "flushDeadline")
		extend       = duration(t, "systemd.go", "extendStart")
		startTick    = duration(t, "systemd.go", "startTick")
		statusTick   = duration(t, "systemd.go", "statusTick")
		reload       = duration(t, "reload_command.go", "reloadTimeout")
	)
	for _, c := range []struct {
		must   string
		longer time.Duration
		than   time.Duration
	}{
		{"systemd must not kill an agent that still stops by itself", stop, 2 * stopDeadline},
		{"systemd must not kill an agent that waits for its disk", stop, flush},
		{"a stop must not outlast the watchdog, which goes on meanwhile", watchdog, stop},
		{"an extension must come before the last one has run out", extend, 5 * startTick},
		{"the first extension must come before the start has timed out", start, extend},
		{"reload runs under the start timeout, and must tell what happened", start, reload},
		{"status lines must not be rarer than the feeding", watchdog / 3, statusTick},
		{"a slow remote write must not look like a hang", watchdog, 30 * time.Second},
		{"the stacks must be written sooner than a stop may take", stop, abort},
		{"a crash loop must not lose more than a hang that the watchdog ends", watchdog, restart},
		{"a disk that is slow to sync must not look like a hang", watchdog, flagDuration(t, "storage.sync-interval")},
	} {
		if c.longer <= c.than {
			t.Errorf("%s: %s is not longer than %s", c.must, c.longer, c.than)
		}
	}
	for _, want := range []string{fmt.Sprintf("Stop, within %d seconds", int(stopDeadline.Seconds())), fmt.Sprintf("slow to write gets %d seconds", int(flush.Seconds()))} {
		if !strings.Contains(man(t), want) {
			t.Errorf("the manual page does not say %q", want)
		}
	}
	if want := fmt.Sprintf("after %s to %d seconds", s["Service.RestartSec"][0], int(restart.Seconds())); !strings.Contains(man(t), want) {
		t.Errorf("the manual page does not say %q", want)
	}
	if want := "MemoryMax=" + s["Service.MemoryMax"][0]; !strings.Contains(man(t), want) {
		t.Errorf("the manual page does not say %q", want)
	}
}

// The container image is a release as well.
func TestToolchain(t *testing.T) {
	m := regexp.MustCompile(`(?m)^TOOLCHAIN := go(1\.\d+\.\d+)$`).FindStringSubmatch(read(t, "packaging.mk"))
	if m == nil {
		t.Fatal("packaging.mk names no TOOLCHAIN")
	}
	if want := "docker.io/library/golang:" + m[1] + " AS build"; !strings.Contains(read(t, "Dockerfile"), want) {
		t.Errorf("the Dockerfile does not build with %s", want)
	}
}

func TestUnitNeverGivesUp(t *testing.T) {
	s := service(t)
	if got := s["Service.Restart"]; !slices.Equal(got, []string{"always"}) {
		t.Errorf("Restart=%s", got)
	}
	if got := s["Unit.StartLimitIntervalSec"]; !slices.Equal(got, []string{"0"}) {
		t.Errorf("StartLimitIntervalSec=%s", got)
	}
	if got := s["Service.RestartPreventExitStatus"]; got != nil {
		t.Errorf("RestartPreventExitStatus=%s: a panic ends with 2 as well", got)
	}
}

type nfpmConfig struct {
	Contents []struct {
		Src, Dst, Type, Packager string
	}
}

func nfpm(t *testing.T) nfpmConfig {
	t.Helper()
	var c nfpmConfig
	if err := yaml.Unmarshal([]byte(read(t, "nfpm.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPaths(t *testing.T) {
	s := service(t)
	sources := map[string]string{}
	for _, c := range nfpm(t).Contents {
		sources[c.Dst] = c.Src
		if strings.HasPrefix(c.Dst, "/etc/") && c.Type != "dir" && c.Dst != "/etc/init.d/opstrace-agent" {
			t.Errorf("%s belongs to the package: an upgrade would replace it, or ask", c.Dst)
		}
	}
	for dst, src := range map[string]string{
		binaryPath:                                "${BINARY}",
		sharePath + "/configuration.sh":           "packaging/configuration.sh",
		sharePath + "/opstrace-agent.yml":         "packaging/opstrace-agent.yml",
		sharePath + "/opstrace-agent.default":     "packaging/opstrace-agent.default",
		"/etc/init.d/opstrace-agent":              "packaging/apk/opstrace-agent.initd",
		"/usr/lib/sysusers.d/opstrace-agent.conf": "systemd/opstrace-agent.sysusers",
	} {
		if got := sources[dst]; got != src {
			t.Errorf("%s comes from %q, not from %q", dst, got, src)
		}
	}
	start := "--config.file=" + configPath + " --storage.agent.path=" + statePath + " $ARGS"
	for option, want := range map[string]string{
		"ExecStart":       binaryPath + " " + start,
		"ExecReload":      binaryPath + " reload --pid=${MAINPID} -- --config.file=" + configPath + " $ARGS",
		"ExecPaths":       binaryPath,
		"Environment":     "HOSTNAME=%H", // for external labels
		"EnvironmentFile": "-/etc/default/opstrace-agent",
		"StateDirectory":  filepath.Base(statePath),
		"LoadCredential":  "token:" + filepath.Dir(configPath) + "/token",
		"User":            "opstrace-agent",
		"Group":           "opstrace-agent",
	} {
		if got := s["Service."+option]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s=%s, want %s", option, got, want)
		}
	}
	for file, want := range map[string][]string{
		"../systemd/opstrace-agent.sysusers": {"u opstrace-agent - ", statePath},
		"configuration.sh":                   {"$root" + configPath, flagsPath},
		"deb/preinst":                        {filepath.Dir(configPath)},
		"deb/postinst":                       {sharePath + "/configuration.sh first"},
		"deb/postrm":                         {"rm -rf " + statePath + " " + filepath.Dir(configPath) + "\n", "rm -f " + flagsPath + "\n"},
		"rpm/post":                           {sharePath + "/configuration.sh first", configPath + " " + flagsPath + ";"},
		"rpm/posttrans":                      {sharePath + "/configuration.sh restore"},
		"arch/postinstall":                   {sharePath + "/configuration.sh first"},
		"arch/preupgrade":                    {configPath + " " + flagsPath + ";"},
		"arch/postupgrade":                   {sharePath + "/configuration.sh restore"},
		"apk/postinstall":                    {sharePath + "/configuration.sh first"},
		"apk/preupgrade":                     {configPath + " /etc/conf.d/opstrace-agent;"},
		"apk/postupgrade":                    {sharePath + "/configuration.sh restore"},
		"install.sh":                         {"rm -rf " + statePath + " " + hostmetrics.TextfileDirectory + " " + filepath.Dir(configPath) + " " + flagsPath, binaryPath},
		"apk/opstrace-agent.initd":           {start},
		"apk/preinstall":                     {statePath},
		"Dockerfile":                         {binaryPath, configPath, "VOLUME " + statePath},
		"opstrace-agent.yml":                 {configPath, filepath.Dir(configPath) + "/token", "/run/credentials/opstrace-agent.service/token"},
		"../systemd/encrypted-token.conf":    {"\nLoadCredential=\nLoadCredentialEncrypted=token:" + filepath.Dir(configPath) + "/token.cred\n"},
		"opstrace-agent.8":                   {`/run/credentials/opstrace\-agent.service/token`},
	} {
		for _, w := range want {
			if !strings.Contains(read(t, file), w) {
				t.Errorf("%s: no %q", file, w)
			}
		}
	}
}

func TestSampleConfiguration(t *testing.T) {
	address := strings.TrimSuffix(flags(t, "run")["web.listen-address"], "...")
	if !strings.Contains(read(t, "opstrace-agent.yml"), "targets: ["+address+"]") {
		t.Errorf("the sample does not scrape the agent itself at %s", address)
	}
	for name, c := range map[string]struct{ path, want string }{
		"as it is":        {"opstrace-agent.yml", "valid: 2 scrape configs, 0 destinations"},
		"with a cluster":  {withCluster(t, "token"), "valid: 2 scrape configs, 1 destination"},
		"with credential": {withCluster(t, "/run/credentials/opstrace-agent.service/token"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := exec.Command(agentBinary, "check", "config", c.path).CombinedOutput()
			if c.want != "" && err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("check config: %v\n%s", err, out)
			}
		})
	}
	for _, name := range []string{"opstrace-agent.default", "Dockerfile", "opstrace-agent.8"} {
		if _, port, _ := strings.Cut(address, ":"); !strings.Contains(read(t, name), port) {
			t.Errorf("%s does not name the port %s", name, port)
		}
	}
}

// withCluster is the sample with its opstrace section live.
func withCluster(t *testing.T, tokenFile string) string {
	t.Helper()
	text := read(t, "opstrace-agent.yml")
	for _, line := range []string{"opstrace:", "  cluster: mycluster", "  tenant: default", "  token_file: token"} {
		if !strings.Contains(text, "\n#"+line) {
			t.Fatalf("no line #%s in the sample", line)
		}
		text = strings.Replace(text, "\n#"+line, "\n"+line, 1)
	}
	text = strings.Replace(text, "token_file: token", "token_file: "+tokenFile, 1)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "opstrace-agent.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReload(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		ok     bool
		say    string
	}{
		"good":    {http.StatusOK, "", true, ""},
		"refused": {http.StatusInternalServerError, "failed to reload config: opstrace-agent.yml:3: no such field", false, "opstrace-agent.yml:3: no such field"},
		"guarded": {http.StatusForbidden, "Lifecycle API is not enabled.", false, "does not answer over HTTP"},
	}
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			var asked string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method + " " + r.URL.Path
				w.WriteHeader(a.status)
				fmt.Fprint(w, a.body)
			}))
			defer s.Close()
			out, err := exec.Command(agentBinary, "reload", "--", "--config.file=x.yml",
				"--web.listen-address="+s.Listener.Addr().String(), "--web.route-prefix=/agent").CombinedOutput()
			if (err == nil) != a.ok || !strings.Contains(string(out), a.say) {
				t.Errorf("%v\n%s", err, out)
			}
			if want := "POST /agent/-/reload"; asked != want {
				t.Errorf("asked %q, want %q", asked, want)
			}
		})
	}
}

func TestExposure(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	// In tenths.
	out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=12", "--no-pager",
		"../systemd/opstrace-agent.service").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
