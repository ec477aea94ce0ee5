package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// pages is the folder of the documents that the packages have; they are read where
// nothing else of the repository is.
const pages = "packaging/doc"

// document is a text for people.
type document struct{ path, text string }

func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(repository, pages, "*.md"))
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d documents, %v", len(paths), err)
	}
	paths = append(paths, filepath.Join(repository, "README.md"))
	var all []document
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(repository, path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, document{name, string(b)})
	}
	return all
}

// page returns one of the documents beside the README.
func page(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, pages, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var (
	fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	span  = regexp.MustCompile("`([^`]+)`")
)

// code returns the lines of a document's blocks, and what else is set as code. A span
// may be wrapped, and a line continued.
func (d document) code() (all []string) {
	for _, block := range fence.FindAllStringSubmatch(d.text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[2], "\\\n", " ")) {
			all = append(all, strings.TrimSpace(line))
		}
	}
	for _, s := range span.FindAllStringSubmatch(fence.ReplaceAllString(d.text, ""), -1) {
		all = append(all, strings.Join(strings.Fields(s[1]), " "))
	}
	return all
}

var invocation = regexp.MustCompile(`(?:^|\$ |sudo |exec agent |docker run .* |\./)opstrace-agent((?: [^|;&#>]*)?)`)

// TestDocumentCommands: every command line in the documents is one that the program
// takes.
func TestDocumentCommands(t *testing.T) {
	t.Parallel()
	app := newCLI(nil, nil).app
	names := map[string]bool{}
	for _, c := range app.Model().Commands {
		names[c.Name] = true
	}
	checked := 0
	for _, d := range documents(t) {
		for _, line := range d.code() {
			var args []string
			if m := invocation.FindStringSubmatch(line); m != nil {
				args = strings.Fields(m[1])
			} else if words := strings.Fields(line); len(words) > 1 && names[words[0]] && strings.Contains(line, " -") {
				args = words // as in a table of commands
			}
			if args = meant(args); len(args) == 0 {
				continue
			}
			checked++
			// A flag may be named without a value, as in a sentence.
			if _, err := app.ParseContext(args); err != nil && !strings.HasPrefix(err.Error(), "expected argument for flag ") {
				t.Errorf("%s: %s: %s", d.path, line, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d command lines found", checked)
	}
}

// meant are the arguments without the brackets around those that can be left out.
func meant(args []string) (plain []string) {
	for _, arg := range args {
		if arg = strings.Trim(arg, "[]…"); arg == "COMMAND" {
			return nil
		} else if arg != "" {
			plain = append(plain, arg)
		}
	}
	return plain
}

// knownFlags are those of all commands, with the hidden ones: a document may tell what
// becomes of a flag of Prometheus.
func knownFlags() map[string]bool {
	known := map[string]bool{"help": true, "version": true}
	for _, c := range newCLI(nil, nil).app.Model().FlattenedCommands() {
		for _, f := range c.Flags {
			known[f.Name] = true
			known["no-"+f.Name] = f.IsBoolFlag()
		}
	}
	return known
}

// TestDocumentFlags: every flag that is named by itself, in the documents or in what the
// agent says, is there.
func TestDocumentFlags(t *testing.T) {
	t.Parallel()
	known := knownFlags()
	ofOthers := map[string]bool{"with-key": true, "collector.": true, "no-collector.": true, "path.": true,
		"collector.disable-defaults": true, "path.procfs": true, "path.sysfs": true, "path.rootfs": true, "path.udev.data": true} // of systemd-creds, node_exporter
	groups := map[string]bool{} // as --limits.…
	for name := range known {
		group, _, _ := strings.Cut(name, ".")
		groups[group+"."] = true
	}
	first := regexp.MustCompile(`^--([a-z][a-z0-9.-]*)`)
	checked := 0
	for _, d := range documents(t) {
		for _, line := range d.code() {
			if m := first.FindStringSubmatch(line); m != nil && !ofOthers[m[1]] {
				checked++
				if !known[m[1]] && !groups[m[1]] {
					t.Errorf("%s: there is no --%s", d.path, m[1])
				}
			}
		}
	}
	if checked < 40 {
		t.Errorf("only %d flags found", checked)
	}
	known["no"] = true // in front of another
	known[strings.TrimPrefix(completeFlag, "--")] = true
	named := regexp.MustCompile(`(?:[\s"(]|^)--([a-z][a-z0-9.-]*[a-z])`)
	for path, text := range spoken(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s: there is no --%s", path, m[1])
			}
		}
	}
}

// spoken are the sources of what the agent says, and the alerts about it.
func spoken(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, root := range []string{"agent", "scrapeconfig", "cmd/opstrace-agent", "packaging/alerts.yml", "packaging/dashboard.json"} {
		err := filepath.WalkDir(filepath.Join(repository, root), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".css") || strings.Contains(path, "testdata") || strings.Contains(path, "agenttest") {
				return err
			}
			b, err := os.ReadFile(path)
			texts[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

// TestReference: the tables of flags, features and commands have all that there are,
// with the defaults.
func TestReference(t *testing.T) {
	t.Parallel()
	reference, commands := page(t, "configuration.md"), page(t, "commands.md")
	flags := visibleFlags()
	for _, f := range flags {
		value := " "
		if len(f.Default) > 0 {
			value = fmt.Sprintf(" `%s` ", strings.Join(f.Default, ","))
		} else if f.IsBoolFlag() {
			value = " `false` "
		}
		if row := fmt.Sprintf("\n| `--%s` |%s| ", f.Name, value); !strings.Contains(reference, row) {
			t.Errorf("there is no row %q", row)
		}
	}
	if rows := strings.Count(reference, "\n| `--"); rows != len(flags) {
		t.Errorf("there are %d rows for %d flags", rows, len(flags))
	}
	for _, c := range newCLI(nil, nil).app.Model().FlattenedCommands() {
		if c.FullCommand != "help" && !strings.Contains(commands, "\n| `"+c.FullCommand) {
			t.Errorf("there is no row for the command %s", c.FullCommand)
		}
	}
	for _, name := range featureNames() {
		if !strings.Contains(reference, fmt.Sprintf("\n| `%s` | ", name)) {
			t.Errorf("there is no row for the feature %s", name)
		}
	}
}

func visibleFlags() []*kingpin.FlagModel {
	var visible []*kingpin.FlagModel
	for _, f := range newCLI(nil, nil).app.GetCommand("run").Model().Flags {
		if !f.Hidden {
			visible = append(visible, f)
		}
	}
	return visible
}

// TestDocumentConfigurations: every configuration in the documents is one.
func TestDocumentConfigurations(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, d := range documents(t) {
		for _, block := range fence.FindAllStringSubmatch(d.text, -1) {
			if block[1] != "yaml" {
				continue
			}
			checked++
			file := write(t, filepath.Join(t.TempDir(), "opstrace-agent.yml"), block[2])
			if _, err := scrapeconfig.ReadFile(file, log.NewNopLogger()); err != nil {
				t.Errorf("%s: %s\n%s", d.path, err, block[2])
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d configurations found", checked)
	}
}
