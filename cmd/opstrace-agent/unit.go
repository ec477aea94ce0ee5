package main

import (
	"bytes"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"
)

// unitDirs are where systemd looks for units and their drop-ins; the last one wins.
var unitDirs = []string{"/lib/systemd/system", "/usr/lib/systemd/system", "/usr/local/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system"}

// execStart is the command line of the service below root, by its unit and the drop-ins
// of that. Quotes and specifiers are not understood. It is empty where another program
// is started, whose flags say nothing of the agent's.
func execStart(root string) (line []string) {
	for _, file := range unitFiles(root) {
		content, _ := os.ReadFile(file)
		options, _ := unit.DeserializeOptions(bytes.NewReader(content)) // what is wrong, systemd leaves out too
		for _, o := range options {
			if o.Section == "Service" && o.Name == "ExecStart" { // an empty one takes back those before
				line = strings.Fields(strings.ReplaceAll(o.Value, "\\\n", " "))
			}
		}
	}
	if len(line) == 0 || !strings.HasPrefix(path.Base(strings.TrimLeft(line[0], "-@:+!")), appName) {
		return nil
	}
	return line
}

// unitFiles are the service's unit and its drop-ins, in the order in which they are in
// force.
func unitFiles(root string) (files []string) {
	const name = "/" + appName + ".service"
	byName := map[string]string{} // "" is the unit's
	for _, dir := range unitDirs {
		dir = filepath.Join(root, dir)
		for _, pattern := range []string{name, name + ".d/*.conf"} {
			found, _ := filepath.Glob(dir + pattern)
			for _, file := range found {
				byName[strings.TrimPrefix(file, dir+name)] = file
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[name])
	}
	return files
}
