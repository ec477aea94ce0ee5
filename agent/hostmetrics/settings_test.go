package hostmetrics

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
)

// options are several of one collector.
func options(collector string, of map[string][]string) Collectors {
	return Collectors{collector: {Options: of}}
}

// TestCheckCounts: an option is given as often as node_exporter's command line takes it.
func TestCheckCounts(t *testing.T) {
	const joined = "write one pattern: '^/mnt|^/it''s'"
	const none = "write one, or remove the option: its default is in force then"
	for name, tc := range map[string]struct {
		cs          Collectors
		words, hint string
	}{
		"two patterns":      {options("filesystem", map[string][]string{"mount-points-exclude": {"^/mnt", "^/it's"}}), "mount-points-exclude of collector filesystem takes one value, not 2", joined},
		"two durations":     {options("filesystem", map[string][]string{"mount-timeout": {"1s", "2s"}}), "mount-timeout of collector filesystem takes one value, not 2", "keep one of them"},
		"two bools":         {options("cpu", map[string][]string{"info": {"true", "true"}}), "info of collector cpu takes one value, not 2", "keep one of them"},
		"none of one":       {options("filesystem", map[string][]string{"mount-points-exclude": {}}), "mount-points-exclude of collector filesystem has no value", none},
		"nothing of many":   {options("textfile", map[string][]string{"directory": nil}), "directory of collector textfile has no value", none},
		"a list of one":     {options("filesystem", map[string][]string{"mount-points-exclude": {"^/mnt"}}), "", ""},
		"several":           {options("textfile", map[string][]string{"directory": {"/a", "/b"}}), "", ""},
		"several of sysctl": {options("sysctl", map[string][]string{"include": {"a", "b"}}), "", ""},
		"none of many":      {options("textfile", map[string][]string{"directory": {}}), "", ""},
	} {
		t.Run(name, func(t *testing.T) { checkSetting(t, tc.cs.Check(), tc.words, tc.hint) })
	}
}

// checkSetting compares what Check has returned; empty words: nothing.
func checkSetting(t *testing.T, err error, words, hint string) {
	t.Helper()
	setting, is := errors.AsType[*SettingError](err)
	switch {
	case words == "" && err != nil, words != "" && !is:
		t.Errorf("got %v", err)
	case is && (setting.Error() != words || setting.Hint != hint):
		t.Errorf("got %s, hint %s", setting, setting.Hint)
	}
}

// TestCheckForms: the hint says how a value is written; what would end the process by a panic
// is refused in deprecated options, too.
func TestCheckForms(t *testing.T) {
	for name, tc := range map[string]struct {
		cs          Collectors
		words, hint string
	}{
		"duration":   {option("filesystem", "mount-timeout", "5"), `mount-timeout of collector filesystem: "5" is not a duration`, "write it like 5s"},
		"number":     {option("filesystem", "stat-workers", "x"), `stat-workers of collector filesystem: "x" is not a number`, "write it like 4"},
		"deprecated": {option("netdev", "device-blacklist", "("), "device-blacklist of collector netdev: error parsing regexp: missing closing ): `(`", "DEPRECATED: Use collector.netdev.device-exclude"},
	} {
		t.Run(name, func(t *testing.T) { checkSetting(t, tc.cs.Check(), tc.words, tc.hint) })
	}
}

// lean returns the flags of the build that leaves collectors out.
func lean() map[string]*kingpin.FlagModel {
	known := maps.Clone(knownFlags())
	maps.DeleteFunc(known, func(name string, _ *kingpin.FlagModel) bool {
		collector, _, _ := strings.Cut(name, ".")
		return slices.Contains(leftOut, collector)
	})
	return known
}

// TestCheckLeftOut: a collector of the full build may be off in the other, and else the hint
// says where it is.
func TestCheckLeftOut(t *testing.T) {
	const full = "use the full build, opstrace-agent-full, which has all collectors of node_exporter: `make full` in the sources builds it"
	for name, tc := range map[string]struct {
		cs          Collectors
		words, hint string
	}{
		"on":         {Collectors{"systemd": {}}, `there is no collector "systemd" in this build`, full},
		"an option":  {option("perf", "cpus", "0"), `there is no collector "perf" in this build`, full},
		"off":        {Collectors{"wifi": {Off: true}, "cpu": {Off: true}}, "", ""},
		"misspelt":   {Collectors{"wify": {Off: true}}, `there is no collector "wify" in this build`, Manual},
		"not on top": {option("cpu", "inf", "true"), `collector cpu has no option "inf"`, "it has guest, info, info.bugs-include, info.flags-include"},
	} {
		t.Run(name, func(t *testing.T) { checkSetting(t, tc.cs.check(lean()), tc.words, tc.hint) })
	}
	if got := (Collectors{"wifi": {Off: true}, "cpu": {Off: true}}).flagsOf(lean()); !slices.Equal(got, []string{"--no-collector.cpu"}) {
		t.Errorf("a flag that the build does not have: %q", got)
	}
}

// TestLeftOut: the list is that of the Makefile.
func TestLeftOut(t *testing.T) {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)addprefix no,(.*?)\)`).FindSubmatch(text)
	if m == nil {
		t.Fatal("the Makefile leaves no collectors out")
	}
	got := strings.Fields(strings.ReplaceAll(string(m[1]), "\\\n", " "))
	slices.Sort(got)
	if !slices.Equal(got, leftOut) {
		t.Errorf("the Makefile leaves out %q", got)
	}
}

// TestPathOptions: the list has all options whose help speaks of a path.
func TestPathOptions(t *testing.T) {
	speaks := regexp.MustCompile(`(?i)\b(path|file|directory|fixtures)\b`)
	for name, f := range knownFlags() {
		named := speaks.MatchString(f.Help) || len(f.Default) > 0 && strings.HasPrefix(f.Default[0], "/")
		if is := slices.Contains(pathOptions, name); is != (named && !f.IsBoolFlag()) {
			t.Errorf("%s: %v, and its help is %q", name, is, f.Help)
		}
	}
}

// TestSetDirectory: relative paths begin at the folder, and what is no path stays as it is.
func TestSetDirectory(t *testing.T) {
	for name, tc := range map[string]struct{ in, want Collectors }{
		"none":           {nil, nil},
		"relative":       {option("textfile", "directory", "tf"), option("textfile", "directory", "/etc/agent/tf")},
		"absolute":       {option("textfile", "directory", "/tf"), option("textfile", "directory", "/tf")},
		"above":          {option("textfile", "directory", "../tf/*"), option("textfile", "directory", "/etc/tf/*")},
		"several":        {options("textfile", map[string][]string{"directory": {"a", "/b", ""}}), options("textfile", map[string][]string{"directory": {"/etc/agent/a", "/b", ""}})},
		"runit":          {option("runit", "servicedir", "sv"), option("runit", "servicedir", "/etc/agent/sv")},
		"no path at all": {option("filesystem", "mount-points-exclude", "mnt"), option("filesystem", "mount-points-exclude", "mnt")},
		"off":            {Collectors{"textfile": {Off: true}}, Collectors{"textfile": {Off: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			sd := &SDConfig{Collectors: tc.in}
			sd.SetDirectory("/etc/agent")
			if !sd.Collectors.Equal(tc.want) {
				t.Errorf("got %v", sd.Collectors)
			}
		})
	}
}
