// Package hostmetrics serves the metrics of this host, under node_exporter's names, to
// the agent's own scrape loop: in memory, without a socket.
//
// Its collectors are those of node_exporter, which takes their settings by flags of
// kingpin's global application. So there is one set of them in a process.
package hostmetrics

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kingpin/v2"
	commonconfig "github.com/prometheus/common/config"
	_ "github.com/prometheus/node_exporter/collector" // registers its flags
)

// Collector is how one collector is set: on or off, or by options, which turn it on.
type Collector struct {
	Off     bool
	Options map[string][]string // by node_exporter's names, without "collector.NAME."
}

// UnmarshalYAML takes true, false, or a mapping of options to a value or to several.
func (c *Collector) UnmarshalYAML(unmarshal func(any) error) error {
	*c = Collector{}
	var on bool
	if err := unmarshal(&on); err == nil {
		c.Off = !on
		return nil
	}
	var options map[string]values
	if err := unmarshal(&options); err != nil {
		if unmarshal(&map[string]any{}) == nil {
			return errors.New("an option of a collector is a value or a list of values")
		}
		return errors.New("a collector is true, false, or a mapping of its options")
	}
	c.Options = map[string][]string{}
	for name, v := range options {
		c.Options[name] = v
	}
	return nil
}

// MarshalYAML is the inverse of UnmarshalYAML.
func (c Collector) MarshalYAML() (any, error) {
	if len(c.Options) == 0 {
		return !c.Off, nil
	}
	return c.Options, nil
}

// values is one scalar, or several in a list.
type values []string

func (v *values) UnmarshalYAML(unmarshal func(any) error) error {
	var many []string
	if err := unmarshal(&many); err == nil {
		*v = many
		return nil
	}
	var one string
	if err := unmarshal(&one); err != nil {
		return err
	}
	*v = values{one}
	return nil
}

// Collectors are settings by collector.
type Collectors map[string]Collector

// UnmarshalYAML takes a mapping: of anything else, the decoder would say into which type of Go
// it does not go.
func (cs *Collectors) UnmarshalYAML(unmarshal func(any) error) error {
	var list []any
	var scalar string
	if unmarshal(&list) == nil || unmarshal(&scalar) == nil {
		return errors.New("collectors must be a mapping of their names to true, false or options")
	}
	return unmarshal((*map[string]Collector)(cs))
}

// Equal reports whether both say the same of each collector.
func (cs Collectors) Equal(other Collectors) bool {
	return maps.EqualFunc(cs, other, func(a, b Collector) bool {
		return a.Off == b.Off && maps.EqualFunc(a.Options, b.Options, slices.Equal)
	})
}

// prefix of the flags that are about collectors.
const prefix = "collector."

// knownFlags are those of node_exporter that are about collectors, without their prefix.
var knownFlags = sync.OnceValue(func() map[string]*kingpin.FlagModel {
	known := map[string]*kingpin.FlagModel{}
	for _, f := range kingpin.CommandLine.Model().Flags {
		if name, is := strings.CutPrefix(f.Name, prefix); is {
			known[name] = f
		}
	}
	return known
})

// Manual is the hint for what is to be read about all this.
const Manual = "see This host in /usr/share/doc/opstrace-agent/configuration.md"

// leftOut are the collectors that only `make full` builds.
var leftOut = []string{
	"bcache", "bcachefs", "btrfs", "dmmultipath", "drbd", "ethtool", "fibrechannel", "infiniband", "ipvs", "logind",
	"mountstats", "nfs", "nfsd", "ntp", "pcidevice", "perf", "qdisc", "runit", "selinux", "supervisord", "systemd",
	"tapestats", "tcpstat", "wifi", "xfs", "zfs",
}

// Check returns an error where this build has no such collector or option, or an option has
// a value that it cannot have. It is a *SettingError. A collector that this build does not
// have may be off: the file is for the full build, too.
func (cs Collectors) Check() error { return cs.check(knownFlags()) }

func (cs Collectors) check(known map[string]*kingpin.FlagModel) error {
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		c := cs[name]
		isOut := known[name] == nil && slices.Contains(leftOut, name)
		switch {
		case isOut && c.Off:
		case isOut:
			return &SettingError{Collector: name, msg: fmt.Sprintf("there is no collector %q in this build", name),
				Hint: "use the full build, opstrace-agent-full, which has all collectors of node_exporter: `make full` in the sources builds it"}
		case known[name] == nil, strings.Contains(name, "."):
			return &SettingError{Collector: name, msg: fmt.Sprintf("there is no collector %q in this build", name),
				Hint: Manual, Known: collectors(known)}
		default:
			if err := c.check(name, known); err != nil {
				return err
			}
		}
	}
	return nil
}

// check is Check of one collector, which this build has.
func (c Collector) check(name string, known map[string]*kingpin.FlagModel) error {
	for _, option := range slices.Sorted(maps.Keys(c.Options)) {
		f, vs := known[name+"."+option], c.Options[option]
		e := &SettingError{Collector: name, Option: option}
		if f == nil {
			e.msg = fmt.Sprintf("collector %s has no option %q", name, option)
			e.Known = optionsOf(known, name)
			e.Hint = optionsHint(name, e.Known)
			return e
		}
		if e.msg, e.Hint = countOf(f, vs); e.msg != "" {
			e.msg = fmt.Sprintf("%s of collector %s %s", option, name, e.msg)
			return e
		}
		for _, v := range vs {
			if e.msg, e.Hint = problemOf(f, v); e.msg != "" {
				e.msg = fmt.Sprintf("%s of collector %s: %s", option, name, e.msg)
				return e
			}
		}
		if other, is := strings.CutSuffix(option, "-exclude"); is && c.Options[other+"-include"] != nil && strings.Contains(f.Help, "mutually exclusive") {
			e.msg, e.Hint = fmt.Sprintf("%s and %s-include of collector %s are both set", option, other, name), "keep one of them"
			return e
		}
	}
	return nil
}

// countOf says why a flag cannot be given as often as there are values, and what to do. No
// value at all would leave the default in force, which `[]` is not meant to.
func countOf(f *kingpin.FlagModel, vs []string) (problem, hint string) {
	cumulative, is := f.Value.(interface{ IsCumulative() bool })
	repeatable := is && cumulative.IsCumulative()
	switch {
	case vs == nil, len(vs) == 0 && !repeatable:
		return "has no value", "write one, or remove the option: its default is in force then"
	case len(vs) == 1, repeatable:
		return "", ""
	case isPattern(f):
		return fmt.Sprintf("takes one value, not %d", len(vs)), "write one pattern: '" + strings.ReplaceAll(strings.Join(vs, "|"), "'", "''") + "'"
	}
	return fmt.Sprintf("takes one value, not %d", len(vs)), "keep one of them"
}

// isPattern reports whether a flag takes a regular expression, as all do that are deprecated.
func isPattern(f *kingpin.FlagModel) bool {
	return strings.Contains(f.Help, "egexp") || strings.Contains(f.Help, "regular expression") || strings.HasPrefix(f.Help, "DEPRECATED")
}

// problemOf says why a flag cannot have a value, and what to write: as node_exporter tells it
// only when it begins, some of it by a panic, the kinds are those of the defaults.
func problemOf(f *kingpin.FlagModel, v string) (problem, hint string) {
	var byDefault string
	if len(f.Default) > 0 {
		byDefault = f.Default[0]
	}
	_, isDuration := time.ParseDuration(byDefault)
	_, isNumber := strconv.Atoi(byDefault)
	switch {
	case f.IsBoolFlag():
		if _, err := strconv.ParseBool(v); err != nil {
			return fmt.Sprintf("%q is neither true nor false", v), f.Help
		}
	case isNumber == nil:
		if _, err := strconv.Atoi(v); err != nil {
			return fmt.Sprintf("%q is not a number", v), "write it like " + byDefault
		}
	case isDuration == nil:
		if _, err := time.ParseDuration(v); err != nil {
			return fmt.Sprintf("%q is not a duration", v), "write it like " + byDefault
		}
	case isPattern(f):
		if _, err := regexp.Compile(v); err != nil {
			return err.Error(), f.Help
		}
	}
	return "", ""
}

// pathOptions are those that name a file or a directory.
var pathOptions = []string{"pcidevice.idsfile", "qdisc.fixtures", "runit.servicedir", "textfile.directory", "wifi.fixtures"}

// below returns the settings with relative paths below dir. The agent's working directory is
// that of whoever starts it.
func (cs Collectors) below(dir string) Collectors {
	out := maps.Clone(cs)
	for name, c := range out {
		c.Options = maps.Clone(c.Options)
		for option, vs := range c.Options {
			if !slices.Contains(pathOptions, name+"."+option) {
				continue
			}
			vs = slices.Clone(vs)
			for i, v := range vs {
				vs[i] = commonconfig.JoinDir(dir, v)
			}
			c.Options[option] = vs
		}
		out[name] = c
	}
	return out
}

// flags returns what node_exporter's command line would say, in order.
func (cs Collectors) flags() []string { return cs.flagsOf(knownFlags()) }

func (cs Collectors) flagsOf(known map[string]*kingpin.FlagModel) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		c := cs[name]
		if known[name] == nil {
			continue // it is off: see Check
		}
		if c.Off {
			out = append(out, "--no-"+prefix+name)
			continue
		}
		out = append(out, "--"+prefix+name)
		for _, option := range slices.Sorted(maps.Keys(c.Options)) {
			flag := name + "." + option
			for _, v := range c.Options[option] {
				switch on, _ := strconv.ParseBool(v); {
				case !known[flag].IsBoolFlag():
					out = append(out, "--"+prefix+flag+"="+v)
				case on:
					out = append(out, "--"+prefix+flag)
				default:
					out = append(out, "--no-"+prefix+flag)
				}
			}
		}
	}
	return out
}

// TextfileDirectory is where the textfile collector looks if no directory is set. The
// package makes it.
const TextfileDirectory = "/var/lib/opstrace-agent-textfile"

// withDefaults returns the settings with those that differ from node_exporter's, where
// nothing else is set: TextfileDirectory, if it is there, as the collector takes one that is
// not there for an error at each scrape; and no netlink, which a service may not use whose
// address families are restricted. What it tells, /proc has too.
func (cs Collectors) withDefaults() Collectors {
	out := Collectors{}
	for name, c := range cs {
		out[name] = Collector{Off: c.Off, Options: maps.Clone(c.Options)}
	}
	out.setDefault("arp", "netlink", "false")
	out.setDefault("netdev", "netlink", "false")
	if info, err := os.Stat(TextfileDirectory); err == nil && info.IsDir() {
		out.setDefault("textfile", "directory", TextfileDirectory)
	}
	return out
}

func (cs Collectors) setDefault(name, option, value string) {
	c := cs[name]
	if c.Off || c.Options[option] != nil {
		return
	}
	if c.Options == nil {
		c.Options = map[string][]string{}
	}
	c.Options[option] = []string{value}
	cs[name] = c
}

// collectors are the names of all collectors, in order.
func collectors(known map[string]*kingpin.FlagModel) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(n string) bool { return strings.Contains(n, ".") })
}

func optionsOf(known map[string]*kingpin.FlagModel, collector string) (options []string) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if option, is := strings.CutPrefix(name, collector+"."); is && !known[name].Hidden {
			options = append(options, option)
		}
	}
	return options
}

func optionsHint(collector string, options []string) string {
	if len(options) == 0 {
		return "write `" + collector + ": true`: it has no options"
	}
	return "it has " + strings.Join(options, ", ")
}

// SettingError is about a collector, or an option of one.
type SettingError struct {
	Collector, Option string // empty Option: the collector itself
	Hint              string
	Known             []string // what stands for it elsewhere
	msg               string
}

func (e *SettingError) Error() string { return e.msg }

// Path is where it is set, from collectors on.
func (e *SettingError) Path() []string {
	if e.Option == "" {
		return []string{e.Collector}
	}
	return []string{e.Collector, e.Option}
}

// Name is what is set there.
func (e *SettingError) Name() string { return e.Path()[len(e.Path())-1] }
