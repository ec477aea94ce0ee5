package main

import (
	"io"
	"slices"
	"strings"
	"testing"
)

func TestCompletions(t *testing.T) {
	const all = "run status check init reload forget version"
	for line, want := range map[string]string{ // the last word is the one being typed
		"":                             all,
		"ch":                           "check",
		"re":                           "reload",
		"zz":                           "",
		"check ":                       "config push targets",
		"check p":                      "push",
		"check push ":                  "", // names of files
		"check push --config.f":        "--config.file",
		"check push --h":               "--help",
		"--config.f":                   "--config.file",
		"--config.file ":               "",
		"--config.file x.yml ":         all,
		"--config.file check ":         all, // a value, not a command
		"--config.file=x.yml st":       "status",
		"run --storage.b":              "--storage.backlog.max-bytes",
		"--log.level ":                 "debug info warn error",
		"--log.level w":                "warn",
		"run --log.level=e":            "--log.level=error",
		"--log.level=":                 "--log.level=debug --log.level=info --log.level=warn --log.level=error",
		"--web.enable-pprof ch":        "check", // it takes no value
		"--no-auto-gomem":              "--no-auto-gomemlimit",
		"status --u":                   "--url",
		"status --url http://x --j":    "--json",
		"reload -- --web.listen-a":     "--web.listen-address",
		"reload --p":                   "--pid",
		"--storage.agent.wal-segment-": "", // hidden
		"-":                            "*",
	} {
		t.Run(line, func(t *testing.T) {
			got := newCLI(io.Discard, io.Discard).completions(strings.Split(line, " "))
			if want == "*" {
				if !slices.Contains(got, "--config.file") || !slices.Contains(got, "--help") {
					t.Errorf("%q", got)
				}
				return
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
