// Command opstrace-agent scrapes Prometheus targets and delivers the samples to
// Opstrace, or to any other receiver of Prometheus remote write.
//
// This package is the process: flags, signals, memory limit, messages to
// systemd, exit codes. The agent itself is package agent.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/redact"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

const appName = "opstrace-agent"

const (
	exitFailed = 1
	exitUsage  = 2 // the command line or the configuration: starting again does not help
)

func main() {
	setVersion()
	setHostname()
	os.Exit(runMain(os.Args[1:], os.Stdout, os.Stderr))
}

// setVersion takes the version of the module where the linker was given none,
// as with go install.
func setVersion() {
	if info, ok := debug.ReadBuildInfo(); ok && version.Version == "" {
		version.Version = strings.Trim(info.Main.Version, "v()")
	}
}

// setHostname makes ${HOSTNAME} in external labels this host's name wherever the
// environment does not have it: shells keep it to themselves.
func setHostname() {
	if name, err := os.Hostname(); err == nil && os.Getenv("HOSTNAME") == "" {
		_ = os.Setenv("HOSTNAME", name) // without it the checks tell
	}
}

// setUserAgents tells others who asks. Upstream keeps it in package variables.
func setUserAgents() {
	remote.UserAgent = version.ComponentUserAgent(appName)
	scrape.UserAgent = version.ComponentUserAgent(appName)
}

// cli is the command line: each subcommand adds itself from a file of its own.
type cli struct {
	app            *kingpin.Application
	stdout, stderr io.Writer
	commands       map[string]func() error // by full name
}

func newCLI(stdout, stderr io.Writer) *cli {
	c := &cli{
		app:      kingpin.New(appName, "Scrapes Prometheus targets and delivers the samples to Opstrace. What the endpoint has not acknowledged stays on disk."),
		stdout:   stdout,
		stderr:   stderr,
		commands: map[string]func() error{},
	}
	c.app.UsageWriter(stdout).ErrorWriter(stderr).UsageTemplate(usageTemplate)
	c.app.HelpFlag.Short('h').Help("Show this help.")
	c.app.Version(version.Print(appName))
	c.addRun()
	c.addStatus()
	c.addCheck()
	c.addInit()
	c.addReload()
	c.addForget()
	c.addVersion()
	return c
}

func (c *cli) command(clause *kingpin.CmdClause, do func() error) {
	c.commands[clause.FullCommand()] = do
}

func (c *cli) addVersion() {
	clause := c.app.Command("version", "Print the version.")
	c.command(clause, func() error {
		_, err := fmt.Fprintln(c.stdout, version.Print(appName))
		return err
	})
}

// runMain parses the arguments, runs the command and returns the exit code.
func runMain(args []string, stdout, stderr io.Writer) int {
	c := newCLI(stdout, stderr)
	if len(args) > 0 && args[0] == completeFlag {
		for _, candidate := range c.completions(args[1:]) {
			fmt.Fprintln(stdout, candidate)
		}
		return 0
	}
	if err := c.unknownHelp(args); err != nil {
		return c.fail(err)
	}
	name, err := c.app.Parse(args)
	if err != nil {
		return c.fail(c.explainUsage(args, err))
	}
	if err := c.commands[name](); err != nil {
		return c.fail(err)
	}
	return 0
}

// usageError is a mistake on the command line.
type usageError struct {
	msg  string
	hint string // what to do about it
}

func (e *usageError) Error() string { return e.msg }

// failure is one that somebody can do something about.
type failure struct {
	error
	hint string
}

func (e *failure) Unwrap() error { return e.error }

// reportedError is one that the log has told already.
type reportedError struct{ error }

// fail tells a person what went wrong and what to do, and returns the exit code.
func (c *cli) fail(err error) int {
	if reported := (reportedError{}); errors.As(err, &reported) {
		return exitFailed
	}
	w := c.errorWriter()
	text := redact.Text(err.Error())
	fmt.Fprintf(w, "error: %s\n", text)
	if !strings.Contains(text, "\nhint: ") { // else a running agent's, in its own words
		fmt.Fprintf(w, "hint: %s\n", cmp.Or(hintOf(err), lastHint(err)))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	usage, conf := (*usageError)(nil), (*scrapeconfig.Error)(nil)
	if errors.As(err, &usage) || errors.As(err, &conf) {
		return exitUsage
	}
	return exitFailed
}

// usageTemplate is kingpin's, shorter, and it shows the flags of the default
// command at the top: most people look for those.
const usageTemplate = `{{define "FormatCommand" -}}
{{if .FlagSummary}} {{.FlagSummary}}{{end -}}
{{range .Args}}{{if not .Hidden}} {{if not .Required}}[{{end}}{{if .PlaceHolder}}{{.PlaceHolder}}{{else}}<{{.Name}}>{{end}}{{if not .Required}}]{{end}}{{end}}{{end -}}
{{end -}}

{{if .Context.SelectedCommand -}}
usage: {{.App.Name}} {{.Context.SelectedCommand}}{{template "FormatCommand" .Context.SelectedCommand}}

{{.Context.SelectedCommand.Help|Wrap 0}}
{{if .Context.Flags -}}
Flags:
{{.Context.Flags|FlagsToTwoColumns|FormatTwoColumns}}
{{end -}}
{{if .Context.Args -}}
Arguments:
{{.Context.Args|ArgsToTwoColumns|FormatTwoColumns}}
{{end -}}
{{if .Context.SelectedCommand.Commands -}}
Commands:
{{range .Context.SelectedCommand.FlattenedCommands}}{{if not .Hidden}}  {{.FullCommand}}{{template "FormatCommand" .}}
      {{.Help}}
{{end}}{{end}}
{{end -}}
{{else -}}
usage: {{.App.Name}} [<command>] [<flags>]

{{.App.Help|Wrap 0}}
Commands:
{{range .App.FlattenedCommands}}{{if not .Hidden}}  {{.FullCommand}}{{template "FormatCommand" .}}
      {{.Help}}{{if .Default}} This is the default.{{end}}
{{end}}{{end}}
{{range .App.Commands}}{{if .Default -}}
Flags of {{.Name}}:
{{.Flags|FlagsToTwoColumns|FormatTwoColumns}}
{{end}}{{end -}}
{{end -}}
`
