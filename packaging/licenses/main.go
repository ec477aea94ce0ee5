// Command licenses writes the licence texts of everything that is linked into a
// Go program: the standard library, and each module with the texts that lie
// beside its linked packages. The same text is written once.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	binary := flag.String("binary", "", "the program as it was built: each of its modules must be listed")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: licenses [-binary FILE] PACKAGE; GOOS, GOARCH, GOFLAGS and GOWORK as for go build")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *binary, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

func run(pkg, binary string, w io.Writer) error {
	packages, err := linkedPackages(pkg)
	if err != nil {
		return err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	c := newCollection()
	if err := c.addStandardLibrary(strings.TrimSpace(string(goroot))); err != nil {
		return err
	}
	for _, p := range packages {
		if err := c.addPackage(p); err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	if binary != "" {
		if err := c.checkBinary(binary); err != nil {
			return err
		}
	}
	return c.write(w)
}

// module is as "go list" has it.
type module struct {
	Path, Version, Dir string
	Main               bool // this module, and those of GOWORK
	Replace            *module
}

type linkedPackage struct {
	ImportPath, Dir string
	Module          *module // nil in the standard library
}

func linkedPackages(pkg string) ([]linkedPackage, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Module", pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var packages []linkedPackage
	for d := json.NewDecoder(out); ; {
		var p linkedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return packages, nil
}

// textName is what files with licences, and with what these ask to be passed
// on, are called.
var textName = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright|notice|patents)([-._].*)?$`)

// lineEnd is what texts that are the same differ in.
var lineEnd = regexp.MustCompile(`[ \t\r]*\n`)

// collection is texts, and what each of them belongs to.
type collection struct {
	modules map[string][]string // by "path version": names of its texts
	texts   map[string][]string // by text: "path version, file"
	seen    map[string]bool     // directories
}

func newCollection() *collection {
	return &collection{modules: map[string][]string{}, texts: map[string][]string{}, seen: map[string]bool{}}
}

const standardLibrary = "Go's standard library"

func (c *collection) addStandardLibrary(goroot string) error {
	return c.addDir(standardLibrary, goroot, "")
}

// addPackage adds the texts of a package's directory, and of those above it in
// its module: parts of a module may have another origin.
func (c *collection) addPackage(p linkedPackage) error {
	m := p.Module
	if m == nil || m.Main {
		return nil
	}
	name := m.Path + " " + m.Version
	if m.Replace != nil {
		m = m.Replace
	}
	if _, ok := c.modules[name]; !ok {
		c.modules[name] = nil
	}
	rel, err := filepath.Rel(m.Dir, p.Dir)
	if err != nil || !filepath.IsLocal(rel) {
		return fmt.Errorf("package %s is not in the directory of its module %s", p.ImportPath, name)
	}
	for ; ; rel = filepath.Dir(rel) {
		if err := c.addDir(name, m.Dir, rel); err != nil {
			return err
		}
		if rel == "." {
			return nil
		}
	}
}

func (c *collection) addDir(owner, root, rel string) error {
	dir := filepath.Join(root, rel)
	if c.seen[dir] {
		return nil
	}
	c.seen[dir] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !textName.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		file := filepath.Join(rel, e.Name())
		text := strings.TrimSpace(lineEnd.ReplaceAllString(string(b), "\n"))
		c.modules[owner] = append(c.modules[owner], file)
		c.texts[text] = append(c.texts[text], owner+", "+file)
	}
	return nil
}

// check finds what has no text: that would be passed on without its licence.
func (c *collection) check() error {
	var without []string
	for name, files := range c.modules {
		if len(files) == 0 {
			without = append(without, name)
		}
	}
	slices.Sort(without)
	if len(c.modules[standardLibrary]) == 0 {
		without = append(without, standardLibrary)
	}
	if len(without) > 0 {
		return fmt.Errorf("no licence text found for: %s", strings.Join(without, ", "))
	}
	return nil
}

// checkBinary compares with what the linker wrote into the program.
func (c *collection) checkBinary(path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		if m.Version == "(devel)" {
			continue // a folder of this repository
		}
		if _, ok := c.modules[m.Path+" "+m.Version]; !ok {
			return fmt.Errorf("%s contains %s %s, which is not in the list of packages: was it built with these GOFLAGS and GOWORK?", path, m.Path, m.Version)
		}
	}
	return nil
}

func (c *collection) write(w io.Writer) error {
	var b strings.Builder
	b.WriteString("opstrace-agent is under the Apache License 2.0. Its binary contains what is listed here,\n" +
		"each under its own licence, whose texts follow.\n\n")
	for _, name := range sortedKeys(c.modules) {
		fmt.Fprintf(&b, "  %s\n", name)
	}
	for _, text := range sortedKeys(c.texts) {
		owners := c.texts[text]
		slices.Sort(owners)
		fmt.Fprintf(&b, "\n%s\n\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(owners, "\n"), text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
