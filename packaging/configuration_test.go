package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// host is a folder in place of /, with the samples of a package.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T, booted bool) host {
	t.Helper()
	h := host{t, t.TempDir()}
	for name, mode := range map[string]os.FileMode{"configuration.sh": 0o755, "opstrace-agent.yml": 0o644, "opstrace-agent.default": 0o644} {
		h.write(sharePath+"/"+name, read(t, name), mode)
	}
	if booted {
		h.write("/run/systemd/system/x", "", 0o644)
	}
	return h
}

func (h host) write(path, text string, mode os.FileMode) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.root+path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.root+path, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
}

// run runs configuration.sh with a uname that tells name.
func (h host) run(verb, name string, env ...string) {
	h.t.Helper()
	h.write("/bin/uname", fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' '%s'\n", name), 0o755)
	cmd := exec.Command(h.root+sharePath+"/configuration.sh", verb, h.root)
	cmd.Env = append(os.Environ(), append(env, "PATH="+h.root+"/bin:"+os.Getenv("PATH"))...)
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("configuration.sh %s: %v\n%s", verb, err, out)
	}
}

func (h host) files() map[string]string {
	h.t.Helper()
	found := map[string]string{}
	for _, dir := range []string{"/etc", "/etc/opstrace-agent", "/etc/default", "/etc/conf.d"} {
		entries, err := os.ReadDir(h.root + dir)
		if err != nil && !os.IsNotExist(err) {
			h.t.Fatal(err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				found[dir+"/"+e.Name()] = read(h.t, h.root+dir+"/"+e.Name())
			}
		}
	}
	return found
}

func TestFirstConfigurationNamesTheHost(t *testing.T) {
	for name, c := range map[string]struct {
		uname  string
		booted bool
		want   string
	}{
		"a name":                  {"edge-17.example.org", true, "edge-17.example.org"},
		"a number":                {"007", true, "007"},
		"what YAML takes for nil": {"null", true, "null"},
		"nobody's name":           {`a"b: |&\c`, true, "abc"},
		"no name yet":             {"localhost.localdomain", true, "from the environment"},
		"an image being made":     {"builder", false, "from the environment"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, c.booted)
			h.run("first", c.uname)
			cmd := exec.Command(agentBinary, "check", "config", h.root+configPath, "--print")
			cmd.Env = append(os.Environ(), "HOSTNAME=from the environment")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			m := regexp.MustCompile(`(?m)^ +external_labels:\n +host: (.*)$`).FindStringSubmatch(string(out))
			if m == nil || strings.Trim(m[1], `"'`) != c.want {
				t.Errorf("not host: %s, but %q in\n%s", c.want, m, out)
			}
			info, err := os.Stat(h.root + configPath)
			if err != nil || info.Mode() != 0o644 {
				t.Errorf("%v, %v: the service's user must be able to read it", info, err)
			}
		})
	}
}

func TestFirstConfigurationReplacesNothing(t *testing.T) {
	h := newHost(t, true)
	h.write(configPath, "mine", 0o640)
	h.run("first", "edge")
	if got := h.files(); got[configPath] != "mine" || got[flagsPath] != read(t, "opstrace-agent.default") || len(got) != 2 {
		t.Errorf("%q", got)
	}

	h = newHost(t, true)
	h.run("first", "edge", "OPSTRACE_AGENT_FLAGS_FILE=/etc/conf.d/opstrace-agent")
	if got := h.files(); got[configPath] == "" || got["/etc/conf.d/opstrace-agent"] == "" || len(got) != 2 {
		t.Errorf("on Alpine: %q", got)
	}
}

// From a version whose files these were: what the package manager makes of
// them is the state before, what the user had must be there after.
func TestRestoredConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ before, after map[string]string }{
		"taken away":    {map[string]string{configPath + ".kept": "mine", flagsPath + ".kept": "ARGS"}, map[string]string{configPath: "mine", flagsPath: "ARGS"}},
		"moved by rpm":  {map[string]string{configPath + ".kept": "mine", configPath + ".rpmsave": "mine"}, map[string]string{configPath: "mine"}},
		"another save":  {map[string]string{configPath + ".kept": "mine", configPath + ".rpmsave": "older"}, map[string]string{configPath: "mine", configPath + ".rpmsave": "older"}},
		"still there":   {map[string]string{configPath + ".kept": "mine", configPath: "mine"}, map[string]string{configPath: "mine"}},
		"deleted":       {map[string]string{flagsPath + ".kept": "ARGS"}, map[string]string{flagsPath: "ARGS"}},
		"nothing to do": {map[string]string{configPath: "mine", configPath + ".rpmsave": "mine"}, map[string]string{configPath: "mine", configPath + ".rpmsave": "mine"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, true)
			for path, text := range c.before {
				h.write(path, text, 0o644)
			}
			h.run("restore", "edge")
			if got := h.files(); fmt.Sprint(got) != fmt.Sprint(c.after) {
				t.Errorf("%q, want %q", got, c.after)
			}
		})
	}
}
