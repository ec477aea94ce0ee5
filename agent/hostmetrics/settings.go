// Package hostmetrics serves the metrics of this host, under node_exporter's names, to
// the agent's own scrape loop: in memory, without a socket.
//
// Its collectors are those of node_exporter, which takes their settings by flags of
// kingpin's global application. So there is one set of them in a process.
package hostmetrics

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
		return fmt.Errorf("a collector is true, false, or a mapping of its options: %w", err)
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

// prefix of the flags that are about collectors.
const prefix = "collector."

// flags returns what node_exporter's command line would say, in order. An error names what
// no collector of this build has.
func (cs Collectors) flags() ([]string, error) {
	known := map[string]bool{}
	for _, f := range kingpin.CommandLine.Model().Flags {
		if name, is := strings.CutPrefix(f.Name, prefix); is {
			known[name] = true
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(cs)) {
		c := cs[name]
		if !known[name] || strings.Contains(name, ".") {
			return nil, &UnknownError{Name: name, Known: slices.DeleteFunc(slices.Sorted(maps.Keys(known)), func(n string) bool { return strings.Contains(n, ".") })}
		}
		if c.Off {
			out = append(out, "--no-"+prefix+name)
			continue
		}
		out = append(out, "--"+prefix+name)
		for _, option := range slices.Sorted(maps.Keys(c.Options)) {
			if !known[name+"."+option] {
				return nil, &UnknownError{Name: option, Of: name, Known: optionsOf(known, name)}
			}
			for _, v := range c.Options[option] {
				out = append(out, "--"+prefix+name+"."+option+"="+v)
			}
		}
	}
	return out, nil
}

func optionsOf(known map[string]bool, collector string) (options []string) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if option, is := strings.CutPrefix(name, collector+"."); is {
			options = append(options, option)
		}
	}
	return options
}

// UnknownError is about a collector, or an option of one, that this build does not have.
type UnknownError struct {
	Name  string
	Of    string // collector; empty: Name is one
	Known []string
}

func (e *UnknownError) Error() string {
	if e.Of != "" {
		return fmt.Sprintf("collector %s has no option %q", e.Of, e.Name)
	}
	return fmt.Sprintf("there is no collector %q in this build", e.Name)
}
