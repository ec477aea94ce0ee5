package packaging

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docPath = "/usr/share/doc/opstrace-agent"

// pages are the documents by name, and the README.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("doc/*.md")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d documents, %v", len(paths), err)
	}
	texts := map[string]string{"README.md": read(t, "../README.md")}
	for _, path := range paths {
		texts[filepath.Base(path)] = read(t, path)
	}
	return texts
}

// TestDocumentsAreInstalled: every page is in the packages and installed from the
// archive.
func TestDocumentsAreInstalled(t *testing.T) {
	t.Parallel()
	packaged := map[string]string{}
	for _, c := range nfpm(t).Contents {
		packaged[c.Dst] = c.Src
	}
	var names []string
	for name := range pages(t) {
		if name != "README.md" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if got, want := packaged[docPath+"/"+name], "packaging/doc/"+name; got != want {
			t.Errorf("%s/%s comes from %q, not from %q", docPath, name, got, want)
		}
	}
	m := regexp.MustCompile(`(?m)^pages="([^"]+)"$`).FindStringSubmatch(read(t, "install.sh"))
	if m == nil || !slices.Equal(strings.Fields(m[1]), names) {
		t.Errorf("install.sh does not have the pages %s", strings.Join(names, " "))
	}
}

// fromElsewhere are the paths in the documents that no package has, with the file that
// makes them.
var fromElsewhere = map[string]string{
	configPath:                               "configuration.sh",
	flagsPath:                                "configuration.sh",
	statePath:                                "../systemd/opstrace-agent.sysusers",
	"/etc/opstrace-agent/token":              "../systemd/opstrace-agent.service",
	"/etc/opstrace-agent/token.cred":         "../systemd/encrypted-token.conf",
	"/etc/opstrace-agent/web.yml":            "opstrace-agent.default",
	"/run/opstrace-agent":                    "../systemd/opstrace-agent.service",
	"/run/opstrace-agent/agent.sock":         "../systemd/opstrace-agent.service",
	"/usr/share/keyrings/opstrace-agent.gpg": "repository.sh",
	"/usr/local/bin/opstrace-agent-full":     "../Makefile",
	// In the place of these, a test of the repository.
	"/etc/apt/sources.list.d/opstrace-agent.sources":                    "repository.sh",
	"/etc/yum.repos.d/opstrace-agent.repo":                              "repository.sh",
	"/run/credentials/opstrace-agent.service/token":                     "opstrace-agent.yml",
	"/etc/systemd/system/opstrace-agent.service.d/encrypted-token.conf": "../systemd/encrypted-token.conf",
	"/etc/systemd/system/opstrace-agent.service.d/host-metrics.conf":    "../systemd/host-metrics.conf",
}

// TestDocumentPaths: every absolute path of the agent's in the documents is one that the
// packages have, or that something of theirs makes.
func TestDocumentPaths(t *testing.T) {
	t.Parallel()
	packaged := map[string]bool{}
	for _, c := range nfpm(t).Contents {
		for path := c.Dst; path != "/"; path = filepath.Dir(path) {
			packaged[path] = true
		}
	}
	for path, maker := range fromElsewhere {
		if text := read(t, maker); !strings.Contains(text, path) && !strings.Contains(text, filepath.Base(path)) {
			t.Errorf("%s does not have %s", maker, path)
		}
	}
	path := regexp.MustCompile(`/(?:etc|usr|var|run|lib)/[\w./-]*opstrace-agent[\w./-]*`)
	found := map[string]bool{}
	for name, text := range pages(t) {
		for _, p := range path.FindAllString(text, -1) {
			p = strings.TrimRight(p, "/.")
			found[p] = true
			if !packaged[p] && fromElsewhere[p] == "" {
				t.Errorf("%s: nothing makes %s", name, p)
			}
		}
	}
	if len(found) < 12 {
		t.Errorf("only %d paths found", len(found))
	}
}

// TestDocumentAlerts: every alert that the documents name is there.
func TestDocumentAlerts(t *testing.T) {
	t.Parallel()
	rules := read(t, "alerts.yml")
	for name, text := range pages(t) {
		for _, alert := range regexp.MustCompile(`\bOpstraceAgent[A-Z]\w+`).FindAllString(text, -1) {
			if !strings.Contains(rules, "alert: "+alert+"\n") {
				t.Errorf("%s: there is no alert %s", name, alert)
			}
		}
	}
}

// TestDocumentSandbox: the settings of the unit that the page on security names are
// the unit's.
func TestDocumentSandbox(t *testing.T) {
	t.Parallel()
	unit := "\n" + read(t, "../systemd/opstrace-agent.service")
	_, section, ok := strings.Cut(pages(t)["security.md"], "\n## The service's sandbox\n")
	section, _, _ = strings.Cut(section, "\n## ")
	settings := regexp.MustCompile("`([A-Z][A-Za-z]+=[^`]*)`").FindAllStringSubmatch(section, -1)
	if !ok || len(settings) < 15 {
		t.Fatalf("only %d settings found", len(settings))
	}
	for _, m := range settings {
		if !strings.Contains(unit, "\n"+m[1]+"\n") && m[1] != "SupplementaryGroups=" {
			t.Errorf("the unit does not have %s", m[1])
		}
	}
}

// TestDocumentsNameOnePackage: a command that installs a file names one. Where an older
// one lies beside it, a pattern names both, and apt asks which is meant, or goes back.
func TestDocumentsNameOnePackage(t *testing.T) {
	t.Parallel()
	versions := regexp.MustCompile(`(?m)^## (\d[\w.]*)`).FindStringSubmatch(read(t, "../CHANGELOG.md"))
	if versions == nil {
		t.Fatal("no version in CHANGELOG.md")
	}
	install := regexp.MustCompile(`(?:apt install|dnf install|apk add|pacman -U)[^` + "`\n" + `]*\./opstrace-agent_(\S+)\.(?:deb|rpm|apk|pkg\.tar\.zst)`)
	found := 0
	texts := pages(t)
	texts["changelog.sh"] = strings.ReplaceAll(read(t, "changelog.sh"), "VERSION", versions[1])
	for name, text := range texts {
		for _, m := range install.FindAllStringSubmatch(text, -1) {
			found++
			if strings.Contains(m[0], "--allow-downgrades") {
				continue
			}
			if !strings.HasPrefix(m[1], versions[1]+"_linux_") || strings.Contains(m[1], "*") {
				t.Errorf("%s: %s: not the file of version %s", name, m[0], versions[1])
			}
		}
	}
	if found < 9 {
		t.Errorf("only %d commands found", found)
	}
}
