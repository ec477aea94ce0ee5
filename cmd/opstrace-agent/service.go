package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// What the packages install.
const (
	installRoot   = "/"
	serviceUser   = appName
	serviceConfig = "/etc/opstrace-agent/opstrace-agent.yml"
	serviceFlags  = "/etc/default/opstrace-agent"
	// serviceSource is where the flags of the service are.
	serviceSource = "in ARGS in " + serviceFlags + ", and in ExecStart= of its unit"
)

var serviceUnits = []string{"/usr/lib/systemd/system/opstrace-agent.service", "/lib/systemd/system/opstrace-agent.service", "/etc/systemd/system/opstrace-agent.service"}

// isInstalled reports whether the packaged service is there.
func isInstalled(root string) bool {
	for _, unit := range serviceUnits {
		if _, err := os.Stat(filepath.Join(root, unit)); err == nil {
			return true
		}
	}
	return false
}

var argsLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^[ \t]*ARGS=(.*)$`) })

// serviceArgs are the flags of the service, its unit's own included. Quotes inside
// of them are not understood.
func serviceArgs(root string) []string {
	line := execStart(root)
	if len(line) == 0 { // as in the packaged unit
		line = []string{appName, "--config.file=" + filepath.Join(root, serviceConfig), "$ARGS"}
	}
	var args []string
	for _, word := range line[1:] {
		if word == "$ARGS" || word == "${ARGS}" {
			args = append(args, defaultArgs(root)...)
			continue
		}
		args = append(args, word)
	}
	return args
}

// defaultArgs are the flags in ARGS.
func defaultArgs(root string) (args []string) {
	content, _ := os.ReadFile(filepath.Join(root, serviceFlags)) // it may be gone
	if lines := argsLine().FindAllSubmatch(content, -1); lines != nil {
		last := strings.TrimSpace(string(lines[len(lines)-1][1]))
		args = strings.Fields(strings.Trim(last, `"'`))
	}
	return args
}

// isService reports whether a file is the one that the service reads, which is
// installed below root.
func isService(file, root string) bool {
	return isInstalled(root) && wholePath(file) == wholePath(serviceFile(root))
}

// serviceFile is the file that the service reads: its flags may name another one,
// and the last one counts.
func serviceFile(root string) string {
	file := filepath.Join(root, appName+".yml") // the default, where services run
	args := serviceArgs(root)
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config.file="); ok {
			file = value
		} else if arg == "--config.file" && i+1 < len(args) {
			file = args[i+1]
		}
	}
	return file
}

// wholePath is for errors: which directory a process runs in is rarely what one
// thinks.
func wholePath(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
