package main

import (
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// TestExitCodes: each row of the documents' table of exit codes is true.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	cases := exitCases(t)
	row := regexp.MustCompile("(?m)^\\| `([a-z ]+)` \\| (\\d) \\| (.+) \\|$")
	rows := row.FindAllStringSubmatch(page(t, "commands.md"), -1)
	for _, m := range rows {
		command, code := m[1], int(m[2][0]-'0')
		name := command + " " + m[2]
		run := cases[name]
		delete(cases, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if run == nil {
				t.Fatalf("nothing shows that it ends with %d when %s", code, m[3])
			}
			if got := run(t); got != code {
				t.Errorf("it ends with %d when %s", got, m[3])
			}
		})
	}
	for name := range cases {
		t.Errorf("no row for %s", name)
	}
}

// exitCases bring each command to end with each of its exit codes, by command and code.
func exitCases(t *testing.T) map[string]func(t *testing.T) int {
	const nobody = "http://127.0.0.1:1"
	dir := t.TempDir()
	good := write(t, filepath.Join(dir, "good.yml"), "global: {external_labels: {host: a}}\nscrape_configs: []\nremote_write: []\n")
	bad := write(t, filepath.Join(dir, "bad.yml"), "rule_files: [a.yml]\n")
	down := write(t, filepath.Join(dir, "down.yml"), configWith("down"))
	tenant := []string{"init", "--cluster=mycluster", "--tenant=default"}
	ends := func(args ...string) func(t *testing.T) int {
		return func(t *testing.T) int {
			_, _, code := runCommand(t, t.TempDir(), args...)
			return code
		}
	}
	return map[string]func(t *testing.T) int{
		"run 0": func(t *testing.T) int {
			r, _ := startWith(t, nil)
			r.signal(syscall.SIGTERM)
			code, _ := r.wait()
			return code
		},
		"run 1": func(t *testing.T) int {
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			return ends("--config.file="+good, "--web.listen-address="+taken.Addr().String())(t)
		},
		"run 2": ends("--config.file="+bad, "--web.listen-address=127.0.0.1:0"),
		"status 0": func(t *testing.T) int {
			w := newWorld(t)
			w.start()
			w.becomes("All is well$", 0)
			return ends("status", "--url="+w.running.url)(t)
		},
		"status 1": func(t *testing.T) int {
			r, _ := startWith(t, nil) // its endpoint is dead
			return ends("status", "--url="+r.url)(t)
		},
		"status 2":       ends("status", "--url="+nobody),
		"check config 0": ends("check", "config", good),
		"check config 2": ends("check", "config", bad),
		"check push 0": func(t *testing.T) int {
			e := newEndpoint(t, agenttest.Options{PlainHTTP: true, Tokens: map[string]string{"default": ""}})
			file := write(t, filepath.Join(t.TempDir(), "c.yml"), strings.Replace(configWith("a"), nobody+"/push", e.URL(), 1))
			return ends("check", "push", file)(t)
		},
		"check push 1": ends("check", "push", down),
		"check push 2": ends("check", "push", good),
		"check targets 0": func(t *testing.T) int {
			targets, err := agenttest.NewTargets("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer targets.Close()
			targets.Add("a", agenttest.TargetOptions{})
			return ends("check", "targets", write(t, filepath.Join(t.TempDir(), "c.yml"), "scrape_configs:\n"+targets.ScrapeConfig("job", 1e9)))(t)
		},
		"check targets 1": ends("check", "targets", down),
		"check targets 2": ends("check", "targets", bad),
		"init 0":          ends(append(tenant, "--output=new.yml")...),
		"init 1":          ends(append(tenant, "--output=no/such/folder/new.yml")...),
		"init 2":          ends(append(tenant, "--output="+good)...),
		"reload 0": func(t *testing.T) int {
			r, _ := startWith(t, nil)
			return ends("reload", "--url="+r.url)(t)
		},
		"reload 1": ends("reload", "--url="+nobody),
		"reload 2": ends("reload", "--url=nowhere"),
		"forget 0": func(t *testing.T) int {
			r, file := startWith(t, nil)
			write(t, file, strings.Replace(configWith("first"), "name: dead, url: \""+nobody, "name: other, url: \""+nobody+"/other", 1))
			if code := ends("reload", "--url="+r.url)(t); code != 0 {
				t.Fatalf("reload: %d", code)
			}
			return ends("forget", "dead", "--url="+r.url)(t)
		},
		"forget 1":  ends("forget", "dead", "--url="+nobody),
		"forget 2":  ends("forget"),
		"version 0": ends("version"),
	}
}
