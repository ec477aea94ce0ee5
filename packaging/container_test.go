package packaging

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// containerUser is nonroot of distroless.
const containerUser = 65532

// imageCommand is a command of the Dockerfile: ENTRYPOINT, CMD or HEALTHCHECK.
func imageCommand(t *testing.T, instruction string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + instruction + `\b.*?(\[.*\])$`).FindStringSubmatch(read(t, "Dockerfile"))
	if m == nil {
		t.Fatalf("no %s in the Dockerfile", instruction)
	}
	var words []string
	if err := json.Unmarshal([]byte(m[1]), &words); err != nil {
		t.Fatalf("%s: %v", instruction, err)
	}
	return words
}

// containerRoom is a folder that the container's user can use, with the
// program, and a token that only that user can read.
func containerRoom(t *testing.T, config string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "container")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(agentBinary)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]struct {
		content []byte
		mode    os.FileMode
	}{
		"opstrace-agent":     {program, 0o755},
		"opstrace-agent.yml": {[]byte(config), 0o644},
		"token":              {[]byte("secret"), 0o400},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), f.content, f.mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o750); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, name := range []string{"token", "state"} {
			if err := os.Chown(filepath.Join(dir, name), containerUser, containerUser); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// asContainerUser runs the command as the image does, where the test may.
func asContainerUser(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(dir, "opstrace-agent"), args...)
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: containerUser, Gid: containerUser}}
	}
	return cmd
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// The image's commands, outside of it: the agent as the image's user with the
// compose file's token delivers, and the health check is what status says.
func TestContainer(t *testing.T) {
	var delivered atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		delivered.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer endpoint.Close()
	address := freeAddress(t)
	dir := containerRoom(t, "global: {scrape_interval: 1s}\nremote_write:\n- {name: far, url: '"+endpoint.URL+"', bearer_token_file: token}\n"+
		"scrape_configs:\n- {job_name: own, static_configs: [{targets: ['"+address+"']}]}\n")

	inRoom := strings.NewReplacer(configPath, dir+"/opstrace-agent.yml", statePath, dir+"/state", "0.0.0.0:9095", address)
	var args []string
	for _, a := range append(imageCommand(t, "ENTRYPOINT"), imageCommand(t, "CMD")...)[1:] {
		args = append(args, inRoom.Replace(a))
	}
	health := append(imageCommand(t, "HEALTHCHECK")[1:], "--url=http://"+address)
	exitCode := func() int {
		cmd := asContainerUser(dir, health...)
		_ = cmd.Run() // its code is what counts
		return cmd.ProcessState.ExitCode()
	}

	if code := exitCode(); code != 2 {
		t.Errorf("without an agent the health check ends with %d", code)
	}
	var log strings.Builder
	agent := asContainerUser(dir, args...)
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	deadline := time.After(time.Minute)
	for delivered.Load() == 0 || exitCode() != 0 {
		select {
		case err := <-ended:
			t.Fatalf("the agent ended: %v\n%s", err, &log)
		case <-deadline:
			_ = agent.Process.Kill()
			<-ended
			t.Fatalf("%d requests delivered, health check: %d\n%s", delivered.Load(), exitCode(), &log)
		case <-time.After(100 * time.Millisecond):
		}
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestContainerFilesAgree(t *testing.T) {
	_, port, _ := strings.Cut(strings.TrimSuffix(flags(t, "run")["web.listen-address"], "..."), ":")
	// The health check asks there, where no service is installed: see TestServiceAddress.
	dockerfile := read(t, "Dockerfile")
	for _, want := range []string{"\nUSER 65532:65532\n", "\nEXPOSE " + port + "\n", "--web.listen-address=0.0.0.0:" + port, "distroless/static-debian12:nonroot"} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("no %q in the Dockerfile", want)
		}
	}

	var compose struct {
		Services map[string]struct {
			Image, Hostname string
			Build           struct{ Context, Dockerfile string }
			Volumes, Ports  []string
			StopGracePeriod string `yaml:"stop_grace_period"`
		}
		Volumes map[string]any
	}
	text := read(t, "compose.yaml")
	if err := yaml.Unmarshal([]byte(text), &compose); err != nil {
		t.Fatal(err)
	}
	agent := compose.Services["agent"]
	if _, err := os.Stat(filepath.Join(agent.Build.Context, agent.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	mounted := strings.Join(agent.Volumes, " ") + " "
	for _, want := range []string{":" + configPath + ":ro ", ":" + filepath.Dir(configPath) + "/token:ro ", "backlog:" + statePath + " "} {
		if !strings.Contains(mounted, want) {
			t.Errorf("no volume %q: %q", want, agent.Volumes)
		}
	}
	if _, ok := compose.Volumes["backlog"]; !ok || agent.Hostname == "" || len(agent.Ports) != 1 || agent.Ports[0] != "127.0.0.1:"+port+":"+port {
		t.Errorf("%+v", compose)
	}
	if grace, err := time.ParseDuration(agent.StopGracePeriod); err != nil || grace <= duration(t, "process.go", "flushDeadline") {
		t.Errorf("killed after %s, while it still stops by itself (%v)", agent.StopGracePeriod, err)
	}
	if !strings.Contains(text, "install -m 400 -o 65532 tenant-api-token-default token") {
		t.Error("it does not tell whose the token must be")
	}
}
