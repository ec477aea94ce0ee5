package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestChecksumsAreSigned: the checksums have what was released and its provenance; the
// releaser's key signs them if it is given, and no signature of others stays.
func TestChecksumsAreSigned(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	if err := os.MkdirAll(p.dist, 0o750); err != nil {
		t.Fatal(err)
	}
	sums, signature := filepath.Join(p.dist, "sha256sums.txt"), filepath.Join(p.dist, "sha256sums.txt.asc")
	for name, content := range map[string]string{"opstrace-agent_0.2.0_linux_amd64.deb": "a", "provenance.json": "{}", "RELEASE_NOTES.md": "not this"} {
		if err := os.WriteFile(filepath.Join(p.dist, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	checksums := func(key string) {
		t.Helper()
		if out, err := p.run("env", "GOTOOLCHAIN=go1.0", "DIST="+p.dist, "RELEASE_KEY="+key, "./release.sh", "checksums"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	checksums("test@example.org")
	list, err := os.ReadFile(sums)
	if err != nil || strings.Count(string(list), "\n") != 2 || !strings.Contains(string(list), "  opstrace-agent_0.2.0_linux_amd64.deb\n") || !strings.Contains(string(list), "  provenance.json\n") {
		t.Fatalf("%v\n%s", err, list)
	}
	if out, err := p.run("gpg", "--batch", "--verify", signature, sums); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := p.run("env", "-C", p.dist, "sha256sum", "--strict", "-c", "sha256sums.txt"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := os.WriteFile(sums, append(list, "more\n"...), 0o640); err != nil {
		t.Fatal(err)
	}
	if out, err := p.run("gpg", "--batch", "--verify", signature, sums); err == nil {
		t.Errorf("another list passes: %s", out)
	}
	checksums("")
	if _, err := os.Stat(signature); !os.IsNotExist(err) {
		t.Errorf("a signature of before: %v", err)
	}
}
