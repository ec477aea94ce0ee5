package packaging

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// flags of a command with their defaults, from the program's own help. A flag
// without one has "", one that takes a value has that value's placeholder.
func flags(t *testing.T, command string) map[string]string {
	t.Helper()
	out, err := exec.Command(agentBinary, append(strings.Fields(command), "--help")...).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^ +(?:-\w, )? *--(?:\[no-\])?([a-z.-]+)(?:=(\S+))?`).FindAllStringSubmatch(string(out), -1) {
		found[m[1]] = strings.Trim(m[2], `"`)
	}
	delete(found, "help")
	delete(found, "version")
	return found
}

// commands of the program, from its own help.
func commands(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command(agentBinary, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(out), "\nCommands:\n")
	list, _, _ = strings.Cut(list, "\nFlags of ")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)`).FindAllStringSubmatch(list, -1) {
		if m[1] != "help" {
			names = append(names, m[1])
		}
	}
	if !slices.Contains(names, "run") || !slices.Contains(names, "check config") {
		t.Fatalf("commands %q in\n%s", names, out)
	}
	return names
}

// man is the manual page as plain text, without roff's escapes.
func man(t *testing.T) string {
	t.Helper()
	return strings.NewReplacer(`\-`, "-", `\fP`, "", `\fI`, "", `\c`, "").Replace(read(t, "opstrace-agent.8"))
}

func TestManHasEveryFile(t *testing.T) {
	_, files, ok := strings.Cut(man(t), ".SH FILES")
	if !ok {
		t.Fatal("no section FILES")
	}
	for _, c := range nfpm(t).Contents {
		dir := strings.TrimSuffix(filepath.Dir(c.Dst), "/")
		if !strings.Contains(files, c.Dst) && !strings.Contains(files, dir+" .") && !strings.Contains(files, dir+" )") && c.Type != "dir" {
			t.Errorf("%s is not in the manual page", c.Dst)
		}
	}
	for _, path := range []string{statePath, filepath.Dir(configPath) + "/token"} {
		if !strings.Contains(files, path) {
			t.Errorf("%s is not in the manual page", path)
		}
	}
}

func TestManHasEveryCommandAndFlag(t *testing.T) {
	page := man(t)
	sections := map[string]string{}
	for _, part := range strings.Split(page[strings.Index(page, ".SH COMMANDS"):strings.Index(page, ".SH FLAGS OF RUN")], "\n.SS ")[1:] {
		name := regexp.MustCompile(`^[a-z]+(?: [a-z]+)?`).FindString(part)
		sections[name] = part
	}
	sections["run"] = page[strings.Index(page, ".SH FLAGS OF RUN"):strings.Index(page, ".SH THE SERVICE")]
	for _, command := range commands(t) {
		section, ok := sections[command]
		if !ok {
			t.Errorf("command %q is not in the manual page", command)
			continue
		}
		delete(sections, command)
		checkFlags(t, command, section)
	}
	for name := range sections {
		t.Errorf("command %q is in the manual page only", name)
	}
}

// checkFlags compares names and defaults of a command's flags with a section of
// the manual page. Placeholders are written in capitals, in both.
func checkFlags(t *testing.T, command, section string) {
	t.Helper()
	documented := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\.TP\n\.BI? --([a-z.-]+)(?:= (\S+))?$`).FindAllStringSubmatch(section, -1) {
		documented[m[1]] = m[2]
	}
	for name, value := range flags(t, command) {
		shown, ok := documented[name]
		if !ok {
			t.Errorf("%s --%s is not in the manual page", command, name)
		} else if value = strings.TrimSuffix(value, "..."); shown != value {
			t.Errorf("%s --%s: the manual page says %q, the program %q", command, name, shown, value)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s --%s is in the manual page only", command, name)
	}
}

func TestManIsWellFormed(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff")
	}
	var warnings bytes.Buffer
	cmd := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", "-rLL=120n", "opstrace-agent.8")
	cmd.Stderr = &warnings
	if err := cmd.Run(); err != nil || strings.Contains(warnings.String(), "error") {
		t.Errorf("%v\n%s", err, &warnings)
	}
}
