package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// floors are the least versions of what reads the network besides the standard
// library, where they are ahead of what Prometheus asks for. They move up with
// go.mod, so that nobody takes a version back unseen.
var floors = map[string]string{
	"golang.org/x/crypto": "v0.59.0",
	"golang.org/x/net":    "v0.62.0",
}

// Prometheus' releases mend vulnerabilities by moving its modules, sometimes
// nothing else: whoever takes the release must not stay behind in any of them.
func TestModulesNotBehindPrometheus(t *testing.T) {
	ours := parseModules(t, filepath.Join(repository, "go.mod"))
	theirs := parseModules(t, filepath.Join(upstreamDir(t), "go.mod"))
	if len(theirs.Require) < 100 {
		t.Fatalf("only %d modules found in Prometheus", len(theirs.Require))
	}
	for _, b := range behind(ours, theirs) {
		t.Error(b)
	}
	versions := versionsOf(ours)
	for module, floor := range floors {
		if semver.Compare(versions[module], floor) < 0 {
			t.Errorf("%s %q is older than %s", module, versions[module], floor)
		}
	}
}

func TestBehind(t *testing.T) {
	const theirs = "module b\ngo 1.26.7\nrequire (\n a.org/x v1.2.0\n a.org/y v0.0.0-20260101000000-0123456789ab\n a.org/z v2.0.0+incompatible\n)\n"
	for _, tc := range []struct {
		ours string
		want []string
	}{
		{"go 1.26.7\nrequire a.org/x v1.2.0\n", nil},
		{"go 1.27\nrequire (\n a.org/x v1.10.0\n a.org/y v0.0.0-20260102000000-0123456789ab\n)\n", nil},
		{"go 1.26.7\nrequire a.org/other v0.1.0\n", nil},
		{"go 1.26.6\n", []string{"go 1.26.6 is behind 1.26.7"}},
		{"go 1.26.7\nrequire a.org/x v1.2.0-rc.0\n", []string{"a.org/x v1.2.0-rc.0 is behind v1.2.0"}},
		{"go 1.26.7\nrequire a.org/y v0.0.0-20251231000000-0123456789ab\n", []string{"a.org/y v0.0.0-20251231000000-0123456789ab is behind v0.0.0-20260101000000-0123456789ab"}},
		{"go 1.26.7\nrequire a.org/z v1.9.0+incompatible\n", []string{"a.org/z v1.9.0+incompatible is behind v2.0.0+incompatible"}},
		{"go 1.26.7\nrequire a.org/x v1.2.0\nreplace a.org/x => a.org/fork v1.1.0\n", []string{"a.org/x v1.1.0 is behind v1.2.0"}},
		{"go 1.26.7\nrequire a.org/x v1.2.0\nreplace a.org/x => ./x\n", []string{"a.org/x is replaced by ./x, which has no version"}},
	} {
		parse := func(text string) *modfile.File {
			f, err := modfile.Parse("go.mod", []byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		if got := behind(parse("module a\n"+tc.ours), parse(theirs)); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %q instead of %q", tc.ours, got, tc.want)
		}
	}
}

func parseModules(t *testing.T, path string) *modfile.File {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := modfile.Parse(path, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func versionsOf(f *modfile.File) map[string]string {
	versions := map[string]string{}
	for _, r := range f.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	return versions
}

// behind lists what in ours is older than in theirs, of what both require.
func behind(ours, theirs *modfile.File) (list []string) {
	if semver.Compare(goVersion(ours), goVersion(theirs)) < 0 {
		list = append(list, fmt.Sprintf("go %s is behind %s", ours.Go.Version, theirs.Go.Version))
	}
	wanted := versionsOf(theirs)
	for _, r := range ours.Require {
		want, both := wanted[r.Mod.Path]
		if !both {
			continue
		}
		have, replacement := r.Mod.Version, ""
		for _, p := range ours.Replace {
			if p.Old.Path == r.Mod.Path && (p.Old.Version == "" || p.Old.Version == r.Mod.Version) {
				have, replacement = p.New.Version, p.New.Path
			}
		}
		if have == "" {
			list = append(list, fmt.Sprintf("%s is replaced by %s, which has no version", r.Mod.Path, replacement))
		} else if semver.Compare(have, want) < 0 {
			list = append(list, fmt.Sprintf("%s %s is behind %s", r.Mod.Path, have, want))
		}
	}
	return list
}

// goVersion is the go directive as semver compares it.
func goVersion(f *modfile.File) string {
	if f.Go == nil {
		return ""
	}
	return "v" + strings.Replace(f.Go.Version, "rc", ".0-rc", 1)
}
