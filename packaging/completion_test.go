package packaging

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// completionRoom is a folder in which opstrace-agent is a command that writes
// its arguments to the file "args", one a line, and completes as the real one.
func completionRoom(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"bin/opstrace-agent":                   fmt.Sprintf("#!/bin/sh\ncase $1 in --completion-bash) exec '%s' \"$@\" ;; esac\nprintf '%%s\\n' \"$@\" > '%s/args'\n", agentBinary, dir),
		"tenant.yml":                           "",
		"bashrc":                               "source '" + abs(t, "completions/opstrace-agent.bash") + "'\n",
		".zshrc":                               "fpath=('" + dir + "/zsh' $fpath)\nautoload -Uz compinit\ncompinit -u -D\n",
		"zsh/_opstrace-agent":                  read(t, "completions/opstrace-agent.zsh"),
		"fish/completions/opstrace-agent.fish": read(t, "completions/opstrace-agent.fish"),
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func abs(t *testing.T, path string) string {
	t.Helper()
	whole, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

func inRoom(dir string, name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { cancel(); return cmd.Process.Kill() }
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+dir+"/bin:"+os.Getenv("PATH"), "HOME="+dir, "ZDOTDIR="+dir,
		"XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir, "TERM=dumb", "INPUTRC=/dev/null")
	return cmd
}

// What is typed behind the command's name, and the arguments that it then has.
var completionLines = map[string][]string{
	"ch\t":                          {"check"},
	"check p\t":                     {"check", "push"},
	"check push ten\t":              {"check", "push", "tenant.yml"},
	"--config.f\t":                  {"--config.file"},
	"--config.file ten\t vers\t":    {"--config.file", "tenant.yml", "version"},
	"--config.file=ten\t":           {"--config.file=tenant.yml"},
	"--log.level w\t":               {"--log.level", "warn"},
	"run --log.level=w\t":           {"run", "--log.level=warn"},
	"reload -- --web.listen-addr\t": {"reload", "--", "--web.listen-address"},
}

// TestCompletionOnATerminal types into interactive shells.
func TestCompletionOnATerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("no script(1), which makes a terminal")
	}
	for shell, command := range map[string]string{"bash": "bash --noprofile --rcfile bashrc -i", "zsh": "zsh -i"} {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip("no " + shell)
			}
			for line, want := range completionLines {
				t.Run(line, func(t *testing.T) {
					t.Parallel()
					dir := completionRoom(t)
					cmd := inRoom(dir, "script", "-qefc", command, "/dev/null")
					cmd.Stdin = strings.NewReader("opstrace-agent " + line + "\nexit\n")
					out, err := cmd.CombinedOutput()
					got, readErr := os.ReadFile(filepath.Join(dir, "args"))
					if readErr != nil {
						t.Fatalf("%v, %v\n%s", err, readErr, out)
					}
					if args := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n"); !slices.Equal(args, want) {
						t.Errorf("%q, want %q\n%s", args, want, out)
					}
				})
			}
		})
	}
}

func TestFishCompletion(t *testing.T) {
	if _, err := exec.LookPath("fish"); err != nil {
		t.Skip("no fish")
	}
	dir := completionRoom(t)
	for line, words := range completionLines {
		typed, _, _ := strings.Cut(line, "\t")
		want := words[strings.Count(typed, " ")] // the word that is being typed
		out, err := inRoom(dir, "fish", "-c", "complete -C 'opstrace-agent "+typed+"'").CombinedOutput()
		if err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%q: %v, %q, want %q", typed, err, out, want)
		}
	}
}
