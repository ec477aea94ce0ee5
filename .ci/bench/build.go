package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/semver"
)

// source is a program in a module of others.
type source struct {
	module, version string
	command         string // below the module
	tags            string
}

// file is the name of its binary in the cache, which tells all that makes a difference.
func (s source) file() string {
	name := filepath.Base(s.command) + "-" + s.version
	if s.tags != "" {
		name += "-" + strings.ReplaceAll(s.tags, ",", "-")
	}
	return name
}

// build compiles a program as releases are compiled, static and stripped, unless it is
// in the cache, and returns its path. A module for it alone is made outside of this
// one, whose go.mod stays as it is.
func (s source) build(ctx context.Context, cache string) (binary string, err error) {
	binary = filepath.Join(cache, s.file())
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	dir, err := os.MkdirTemp("", "opstrace-agent-bench-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// Under another name until it is whole.
	half := filepath.Join(dir, "binary")
	if _, err := goCommand(ctx, dir, "mod", "init", "peer"); err != nil {
		return "", err
	}
	if _, err := goCommand(ctx, dir, "get", s.module+"/"+s.command+"@"+s.version); err != nil {
		return "", err
	}
	fmt.Printf("Building %s, once; this takes some minutes.\n", s.file())
	if _, err := goCommand(ctx, dir, "build", "-trimpath", "-tags="+s.tags, "-ldflags=-s -w", "-o", half, s.module+"/"+s.command); err != nil {
		return "", err
	}
	content, err := os.ReadFile(half)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(binary+".half", content, 0o750); err != nil {
		return "", err
	}
	return binary, os.Rename(binary+".half", binary)
}

// goCommand runs go in dir and returns what it prints. What this machine sets for other
// builds must not choose what is built.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return strings.TrimSpace(out.String()), nil
}

// versionInUse is the version of a module in our go.mod, for which the working
// directory must be in it.
func versionInUse(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", module)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("the version of %s in go.mod: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// newestVersions asks the module proxy for the newest n releases.
func newestVersions(ctx context.Context, module string, n int) ([]string, error) {
	out, err := goCommand(ctx, os.TempDir(), "list", "-m", "-versions", module)
	if err != nil {
		return nil, err
	}
	return newest(strings.Fields(out), n), nil
}

// newest returns the n newest releases, newest first, of words of which some are none.
func newest(words []string, n int) []string {
	words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !semver.IsValid(w) || semver.Prerelease(w) != "" })
	semver.Sort(words)
	slices.Reverse(words)
	return words[:min(n, len(words))]
}
