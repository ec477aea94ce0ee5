package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
)

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
