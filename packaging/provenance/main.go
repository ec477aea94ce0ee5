// Command provenance writes what a release was made of: an in-toto statement with SLSA's
// predicate, which names the bytes of each file, the commit, the Go toolchain and the
// modules. It tells what is there and no more: toolchain and modules come from what the
// linker wrote into the binaries. The same release gives the same bytes.
package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	source    = "https://github.com/opstrace/opstrace-agent"
	buildType = source + "/blob/main/packaging/doc/security.md#provenance"
	// builder is the release script, by whomever it was run: who signed says that.
	builder = source + "/blob/main/packaging/release.sh"
)

type statement struct {
	Type          string     `json:"_type"`
	Subject       []resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     predicate  `json:"predicate"`
}

type predicate struct {
	BuildDefinition definition `json:"buildDefinition"`
	RunDetails      runDetails `json:"runDetails"`
}

type definition struct {
	BuildType            string            `json:"buildType"`
	ExternalParameters   map[string]string `json:"externalParameters"`
	ResolvedDependencies []resource        `json:"resolvedDependencies"`
}

type runDetails struct {
	Builder struct {
		ID string `json:"id"`
	} `json:"builder"`
}

// resource is in-toto's descriptor of a file, a commit or a module.
type resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"`
}

// release is what is told of one.
type release struct {
	version, commit string
	dirty           bool   // the folder had changes that are in no commit
	dist            string // the folder with the files, and the binaries below build/
	sums            string // go.sum
}

func main() {
	var r release
	flag.StringVar(&r.version, "version", "", "version of the release")
	flag.StringVar(&r.commit, "commit", "", "commit that was checked out")
	flag.BoolVar(&r.dirty, "dirty", false, "there were changes that are in no commit")
	flag.StringVar(&r.sums, "sums", "go.sum", "checksums of all modules")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: provenance -version V -commit C [-dirty] DIST")
		os.Exit(2)
	}
	r.dist = flag.Arg(0)
	if err := r.write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "provenance:", err)
		os.Exit(1)
	}
}

func (r release) write(w io.Writer) error {
	files, err := filepath.Glob(filepath.Join(r.dist, "opstrace-agent_*"))
	if err != nil {
		return err
	}
	binaries, err := filepath.Glob(filepath.Join(r.dist, "build", "*", "opstrace-agent"))
	if err != nil {
		return err
	}
	if len(binaries) == 0 {
		return fmt.Errorf("no binaries in %s", r.dist)
	}
	s := statement{Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1"}
	for _, path := range slices.Concat(files, binaries) {
		sum, err := sha256File(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.dist, path)
		if err != nil {
			return err
		}
		s.Subject = append(s.Subject, resource{Name: name, Digest: map[string]string{"sha256": sum}})
	}
	sums, err := sha256File(r.sums)
	if err != nil {
		return err
	}
	goVersion, modules, err := linked(binaries)
	if err != nil {
		return err
	}
	d := &s.Predicate.BuildDefinition
	d.BuildType = buildType
	d.ExternalParameters = map[string]string{"version": r.version}
	d.ResolvedDependencies = append([]resource{
		r.sources(),
		{Name: "toolchain", URI: "pkg:golang/toolchain@" + goVersion},
		{Name: "go.sum", Digest: map[string]string{"sha256": sums}},
	}, modules...)
	s.Predicate.RunDetails.Builder.ID = builder
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(s)
}

// sources are the commit, or none: a commit that does not have what was built would be a
// lie.
func (r release) sources() resource {
	if r.dirty || r.commit == "" || r.commit == "unknown" {
		return resource{Name: "sources that are in no commit", URI: "git+" + source}
	}
	return resource{URI: "git+" + source + "@" + r.commit, Digest: map[string]string{"gitCommit": r.commit}}
}

// linked returns the Go version of the binaries, which has to be one, and the modules that
// are in any of them, with the hash that go.sum has.
func linked(binaries []string) (goVersion string, modules []resource, err error) {
	found := map[string]resource{}
	for _, path := range binaries {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return "", nil, fmt.Errorf("cannot read the build information of %s: %w", path, err)
		}
		if goVersion = cmp.Or(goVersion, info.GoVersion); goVersion != info.GoVersion {
			return "", nil, errors.New("the binaries were compiled with " + goVersion + " and " + info.GoVersion + ": make release into an empty folder")
		}
		for _, m := range info.Deps {
			if m.Version == "(devel)" {
				continue // a folder of this repository, which is in the commit
			}
			if m.Replace != nil {
				m = m.Replace
			}
			module := resource{URI: "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")}
			if m.Sum != "" {
				sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
				if err != nil {
					return "", nil, fmt.Errorf("checksum of %s: %w", m.Path, err)
				}
				module.Digest = map[string]string{"dirHash": hex.EncodeToString(sum)}
			}
			found[module.URI] = module
		}
	}
	for _, m := range found {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b resource) int { return strings.Compare(a.URI, b.URI) })
	return goVersion, modules, nil
}

func sha256File(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
