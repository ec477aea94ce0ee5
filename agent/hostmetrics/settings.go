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

// Check returns an error where this build has no such collector or option, or an option has
// a value that it cannot have. It is a *SettingError.
func (cs Collectors) Check() error {
	known := knownFlags()
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		c := cs[name]
		if known[name] == nil || strings.Contains(name, ".") {
			return &SettingError{Collector: name, msg: fmt.Sprintf("there is no collector %q in this build", name),
				Hint: "see the list of collectors in the documentation", Known: collectors(known)}
		}
		for _, option := range slices.Sorted(maps.Keys(c.Options)) {
			f := known[name+"."+option]
			if f == nil {
				return &SettingError{Collector: name, Option: option, msg: fmt.Sprintf("collector %s has no option %q", name, option),
					Hint: optionsHint(name, optionsOf(known, name)), Known: optionsOf(known, name)}
			}
			for _, v := range c.Options[option] {
				if problem := problemOf(f, v); problem != "" {
					return &SettingError{Collector: name, Option: option, msg: fmt.Sprintf("%s of collector %s: %s", option, name, problem), Hint: f.Help}
				}
			}
			if other, is := strings.CutSuffix(option, "-exclude"); is && c.Options[other+"-include"] != nil && strings.Contains(f.Help, "mutually exclusive") {
				return &SettingError{Collector: name, Option: option, msg: fmt.Sprintf("%s and %s-include of collector %s are both set", option, other, name), Hint: "keep one of them"}
			}
		}
	}
	return nil
}

// problemOf says why a flag cannot have a value: as node_exporter tells it only when it
// begins, some of it by a panic, the kinds are those of the defaults.
func problemOf(f *kingpin.FlagModel, v string) string {
	var byDefault string
	if len(f.Default) > 0 {
		byDefault = f.Default[0]
	}
	_, isDuration := time.ParseDuration(byDefault)
	_, isNumber := strconv.Atoi(byDefault)
	switch {
	case f.IsBoolFlag():
		if _, err := strconv.ParseBool(v); err != nil {
			return fmt.Sprintf("%q is neither true nor false", v)
		}
	case isNumber == nil:
		if _, err := strconv.Atoi(v); err != nil {
			return fmt.Sprintf("%q is not a number", v)
		}
	case isDuration == nil:
		if _, err := time.ParseDuration(v); err != nil {
			return fmt.Sprintf("%q is not a duration", v)
		}
	case strings.Contains(f.Help, "egexp"), strings.Contains(f.Help, "regular expression"):
		if _, err := regexp.Compile(v); err != nil {
			return err.Error()
		}
	}
	return ""
}

// flags returns what node_exporter's command line would say, in order.
func (cs Collectors) flags() []string {
	known := knownFlags()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		c := cs[name]
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
