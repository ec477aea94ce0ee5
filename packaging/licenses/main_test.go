package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const agent = "../../cmd/opstrace-agent"

func TestEverythingLinkedHasItsLicence(t *testing.T) {
	lean, err := filepath.Abs("../lean/go.work")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOWORK", lean)
	t.Setenv("GOFLAGS", "-buildvcs=false -tags=remove_all_sd,enable_dns_sd,remove_cloud_logins")
	binary := filepath.Join(t.TempDir(), "agent")
	if out, err := exec.Command("go", "build", "-o", binary, agent).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var first, second bytes.Buffer
	if err := run(agent, binary, &first); err != nil {
		t.Fatal(err)
	}
	text := first.String()
	for _, want := range []string{
		"\n  Go's standard library\n",
		"\n  github.com/prometheus/prometheus v",
		"Copyright 2009 The Go Authors",
		"Copyright (c) 2016 Caleb Spare",                                    // MIT
		"github.com/prometheus/prometheus v0.316.0, NOTICE\n",               // Apache: to be passed on
		"github.com/klauspost/compress v1.20.3, internal/snapref/LICENSE\n", // a part of another origin
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if !regexp.MustCompile(`\ngithub.com/prometheus/client_golang \S+, LICENSE\ngithub.com/prometheus/client_golang/exp \S+, LICENSE\n`).MatchString(text) {
		t.Error("the same text of two modules is not written once")
	}
	for _, absent := range []string{"aws-sdk-go", "azidentity", "google.golang.org/api v", "(devel)"} {
		if strings.Contains(text, absent) {
			t.Errorf("it lists %s, which is not in the program", absent)
		}
	}
	if home, _ := os.UserHomeDir(); home != "" && home != "/" && strings.Contains(text, home+"/") {
		t.Error("it tells of the machine that made it")
	}
	if err := newCollection().checkBinary(binary); err == nil || !strings.Contains(err.Error(), "which is not in the list of packages") {
		t.Errorf("a module of the binary that is not listed: %v", err)
	}
	if err := run(agent, binary, &second); err != nil || second.String() != text {
		t.Errorf("not the same bytes twice (%v)", err)
	}
}

// folder is a module with one package below it.
func folder(t *testing.T, files ...string) linkedPackage {
	t.Helper()
	dir := t.TempDir()
	p := linkedPackage{ImportPath: "example.org/m/a/b", Dir: filepath.Join(dir, "a/b"), Module: &module{Path: "example.org/m", Version: "v1.0.0", Dir: dir}}
	if err := os.MkdirAll(p.Dir, 0o750); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("text of "+f+"\r\nin two lines\n"), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestTextsOfAModule(t *testing.T) {
	goroot := folder(t, "LICENSE").Module.Dir
	for name, tc := range map[string]struct {
		files []string
		want  string // the files found, or a part of the error
	}{
		"at the top":          {[]string{"LICENSE", "README.md"}, "LICENSE"},
		"beside a package":    {[]string{"LICENSE.md", "a/COPYING", "a/b/notice.txt"}, "LICENSE.md a/COPYING a/b/notice.txt"},
		"names":               {[]string{"Licence", "LICENSE-MIT", "COPYRIGHT", "PATENTS", "UNLICENSE"}, "COPYRIGHT LICENSE-MIT Licence PATENTS UNLICENSE"},
		"no texts":            {[]string{"README.md", "license.go", "licensing"}, "no licence text found for: example.org/m v1.0.0"},
		"of something unused": {[]string{"a/b/c.go"}, "no licence text found for: example.org/m v1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			p, c := folder(t, tc.files...), newCollection()
			if err := c.addStandardLibrary(goroot); err != nil {
				t.Fatal(err)
			}
			if err := c.addPackage(p); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err := c.check()
			if err == nil {
				err = c.write(&out)
			}
			if err != nil {
				if err.Error() != tc.want {
					t.Error(err)
				}
				return
			}
			for _, f := range strings.Fields(tc.want) {
				if want := "\nexample.org/m v1.0.0, " + f + "\n\ntext of " + f + "\nin two lines\n"; !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, &out)
				}
			}
			if got, want := len(c.modules["example.org/m v1.0.0"]), len(strings.Fields(tc.want)); got != want {
				t.Errorf("%d texts, want %d", got, want)
			}
		})
	}
}
