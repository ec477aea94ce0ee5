package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// newRelease has a package and a binary, which is this test.
func newRelease(t *testing.T) release {
	t.Helper()
	r := release{version: "0.2.0", commit: strings.Repeat("ab", 20), dist: t.TempDir(), sums: "../../go.sum"}
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"build/amd64/opstrace-agent": program, "opstrace-agent_0.2.0_linux_amd64.deb": []byte("package"), "sha256sums.txt": []byte("of before")} {
		path := filepath.Join(r.dist, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r release) parsed(t *testing.T) (statement, string) {
	t.Helper()
	var text, again bytes.Buffer
	if err := r.write(&text); err != nil {
		t.Fatal(err)
	}
	if err := r.write(&again); err != nil || again.String() != text.String() {
		t.Errorf("other bytes at the second time, %v", err)
	}
	var s statement
	if err := json.Unmarshal(text.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s, text.String()
}

// TestProvenance: it names each file with its bytes, the commit, the toolchain and the
// modules.
func TestProvenance(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	s, text := r.parsed(t)
	sum := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.Sum256(b)
		return hex.EncodeToString(h[:])
	}
	if len(s.Subject) != 2 {
		t.Fatalf("%+v", s.Subject)
	}
	for i, name := range []string{"opstrace-agent_0.2.0_linux_amd64.deb", "build/amd64/opstrace-agent"} {
		if got := s.Subject[i]; got.Name != name || got.Digest["sha256"] != sum(filepath.Join(r.dist, name)) {
			t.Errorf("%+v instead of %s", got, name)
		}
	}
	d := s.Predicate.BuildDefinition.ResolvedDependencies
	if len(d) < 3 || d[0].Digest["gitCommit"] != r.commit || d[1].URI != "pkg:golang/toolchain@"+runtime.Version() || d[2].Digest["sha256"] != sum(r.sums) {
		t.Errorf("%s", text)
	}
}

// TestProvenanceIsTrue: it names no commit that does not have what was built, and no
// toolchain of some of the binaries.
func TestProvenanceIsTrue(t *testing.T) {
	t.Parallel()
	r := newRelease(t)
	r.dirty = true
	if s, text := r.parsed(t); strings.Contains(text, r.commit) || s.Predicate.BuildDefinition.ResolvedDependencies[0].Name == "" {
		t.Errorf("with changes: %s", text)
	}
	r.dirty, r.commit = false, "unknown"
	if _, text := r.parsed(t); strings.Contains(text, "gitCommit") {
		t.Errorf("outside of a repository: %s", text)
	}
	if err := os.RemoveAll(filepath.Join(r.dist, "build")); err != nil {
		t.Fatal(err)
	}
	if err := r.write(new(bytes.Buffer)); err == nil || !strings.HasPrefix(err.Error(), "no binaries in ") {
		t.Errorf("without binaries: %v", err)
	}
}
