package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
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

// configFile is the file that a command is about.
type configFile struct {
	arg, flag *string
	def       string
}

// configFileArg adds the ways to name a configuration file.
func (c *cli) configFileArg(clause *kingpin.CmdClause) configFile {
	return configFile{
		arg:  clause.Arg("file", "The configuration file. Default: what run would read here, and else what the installed service reads.").String(),
		flag: clause.Flag("config.file", "The configuration file, as run has it.").PlaceHolder("FILE").String(),
		def:  c.app.GetCommand("run").GetFlag("config.file").Model().Default[0],
	}
}

// path is the file that is named, or the one that run would read in this folder, or
// the one of the service that is installed below root.
func (f configFile) path(root string) string {
	for _, named := range []string{*f.arg, *f.flag} {
		if named != "" {
			return named
		}
	}
	if _, err := os.Stat(f.def); err != nil && isInstalled(root) {
		return serviceFile(root)
	}
	return wholePath(f.def)
}

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

// parseRunFlags returns flags as run understands them. Errors are a *usageError.
func parseRunFlags(args []string) (*runFlags, error) {
	flags := &runFlags{}
	app := kingpin.New(appName, "").Terminate(nil).UsageWriter(io.Discard).ErrorWriter(io.Discard)
	flags.register(app.Command("run", "").Default())
	if _, err := app.Parse(args); err != nil {
		return nil, (&cli{app: app}).explainUsage(args, err)
	}
	return flags, nil
}

// serviceRunFlags are the flags of the service as run understands them. Its features
// are tried, which has parseFeatures' effects.
func serviceRunFlags(root string) (*runFlags, error) {
	flags, err := parseRunFlags(serviceArgs(root))
	if err == nil {
		err = flags.validate()
	}
	if err == nil {
		_, err = flags.parseFeatures()
	}
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return nil, &usageError{"the installed service cannot start: " + usage.msg, usage.hint + "; its flags are " + serviceSource}
	}
	return flags, err
}

// serviceMemory is what the service that is installed below root may use while it runs,
// which MemoryMax= of its unit bounds.
func serviceMemory(root string) memlimit.Provider {
	return func() (uint64, error) {
		content, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup/system.slice/opstrace-agent.service/memory.max"))
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64) // "max" is an error: the host's memory counts
	}
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
