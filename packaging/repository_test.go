package packaging

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// publisher has packages, a key, and what comes of them.
type publisher struct {
	t    *testing.T
	dir  string
	dist string
	env  []string
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	for _, tool := range []string{"gpg", "apt-ftparchive", "dpkg-deb", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: apt-get install gnupg apt-utils", tool)
		}
	}
	// Not below TMPDIR of the test: gpg's socket must have a short path.
	home, err := os.MkdirTemp("/tmp", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{t: t, dir: t.TempDir(), env: append(os.Environ(), "GNUPGHOME="+home)}
	p.dist = filepath.Join(p.dir, "dist")
	t.Cleanup(func() {
		p.run("gpgconf", "--kill", "all")
		os.RemoveAll(home)
	})
	if out, err := p.run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "Test <test@example.org>", "ed25519"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return p
}

func (p *publisher) run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// deb makes a package as nfpm names it, which holds the word.
func (p *publisher) deb(version, ours, debian, word string) {
	p.t.Helper()
	root := filepath.Join(p.dir, "root")
	for name, text := range map[string]string{
		"DEBIAN/control":       fmt.Sprintf("Package: opstrace-agent\nVersion: %s-1\nArchitecture: %s\nMaintainer: x <x@example.org>\nDescription: x\n", version, debian),
		"usr/share/x/contents": word,
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.MkdirAll(p.dist, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if out, err := p.run("dpkg-deb", "--root-owner-group", "-b", root, filepath.Join(p.dist, "opstrace-agent_"+version+"_linux_"+ours+".deb")); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
}

func (p *publisher) publish(key, url string) (string, error) {
	return p.run("env", "DIST="+p.dist, "REPOSITORY_KEY="+key, "REPOSITORY_URL="+url, "./repository.sh")
}

// host is an apt of its own for one architecture, set up as the README says.
func (p *publisher) host(arch string) func(args ...string) (string, error) {
	p.t.Helper()
	repository, dir := filepath.Join(p.dist, "repository"), p.t.TempDir()
	keyring := filepath.Join(dir, "opstrace-agent.gpg")
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			p.t.Fatal(err)
		}
	}
	sources := strings.ReplaceAll(read(p.t, filepath.Join(repository, "apt/opstrace-agent.sources")), "/usr/share/keyrings/opstrace-agent.gpg", keyring)
	for path, text := range map[string]string{
		keyring: read(p.t, filepath.Join(repository, "opstrace-agent.gpg")),
		filepath.Join(dir, "opstrace-agent.sources"): sources,
		filepath.Join(dir, "status"):                 "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	return func(args ...string) (string, error) {
		cmd := exec.Command("apt-get", append([]string{
			"-o", "Dir::Etc::sourcelist=" + filepath.Join(dir, "opstrace-agent.sources"), "-o", "Dir::Etc::sourceparts=-",
			"-o", "Dir::State::lists=" + filepath.Join(dir, "lists"), "-o", "Dir::State::status=" + filepath.Join(dir, "status"),
			"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Architecture=" + arch, "-o", "APT::Architectures=" + arch,
			"-o", "APT::Sandbox::User=", "-o", "Debug::NoLocking=1", "-o", "APT::Get::List-Cleanup=0",
		}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err == nil && args[0] == "download" {
			deb, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
			contents, err := exec.Command("dpkg-deb", "--fsys-tarfile", deb[0]).Output()
			return string(contents), err
		}
		return string(out), err
	}
}

func TestAptRepository(t *testing.T) {
	p := newPublisher(t)
	p.deb("1.0.0", "amd64", "amd64", "old")
	p.deb("1.0.1", "amd64", "amd64", "new")
	p.deb("1.0.1", "armv6", "armhf", "for every Raspberry Pi")
	p.deb("1.0.1", "armv7", "armhf", "not for the oldest")
	repository := filepath.Join(p.dist, "repository")
	if out, err := p.publish("test@example.org", "file:"+repository+"/"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	apt := p.host("amd64")
	if out, err := apt("update", "-o", "APT::Update::Error-Mode=any"); err != nil || strings.Contains(out, "W:") {
		t.Fatalf("update: %v\n%s", err, out)
	}
	if out, err := apt("download", "opstrace-agent"); err != nil || !strings.Contains(out, "new") {
		t.Errorf("download: %v, %.300q", err, out)
	}
	arm := p.host("armhf")
	if out, err := arm("update", "-o", "APT::Update::Error-Mode=any"); err != nil {
		t.Fatalf("update: %v\n%s", err, out)
	}
	if out, err := arm("download", "opstrace-agent"); err != nil || !strings.Contains(out, "for every Raspberry Pi") {
		t.Errorf("armhf: %v, %.300q", err, out)
	}

	// Whoever has the server has not the hosts.
	forged := filepath.Join(repository, "apt/pool/opstrace-agent_1.0.1-1_amd64.deb")
	if err := os.WriteFile(forged, []byte(strings.Repeat("x", 700)), 0o644); err != nil {
		t.Fatal(err)
	}
	apt = p.host("amd64")
	if out, err := apt("update"); err != nil {
		t.Fatalf("update: %v\n%s", err, out)
	}
	if out, err := apt("download", "opstrace-agent"); err == nil {
		t.Errorf("a forged package is taken: %.300q", out)
	}
	list := filepath.Join(repository, "apt/dists/stable/InRelease")
	if err := os.WriteFile(list, []byte(strings.Replace(read(t, list), "Suite: stable", "Suite: forged", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := p.host("amd64")("update", "-o", "APT::Update::Error-Mode=any"); err == nil {
		t.Errorf("a forged list is taken:\n%s", out)
	}
}

func TestRepositoryRefuses(t *testing.T) {
	p := newPublisher(t)
	for _, c := range []struct{ key, url, want string }{
		{"", "https://packages.example.org", "error: no key to sign with\nhint: make repository "},
		{"test@example.org", "", "error: REPOSITORY_URL= is no URL\nhint: "},
		{"test@example.org", "packages.example.org", "error: REPOSITORY_URL=packages.example.org is no URL\nhint: "},
		{"test@example.org", "https://packages.example.org", "error: no packages in " + p.dist + "\nhint: make packages\n"},
	} {
		if out, err := p.publish(c.key, c.url); err == nil || !strings.HasPrefix(out, c.want) {
			t.Errorf("%v: %q, want %q", err, out, c.want)
		}
	}
	p.deb("1.0.0", "amd64", "amd64", "x")
	if out, err := p.publish("nobody@example.org", "https://packages.example.org"); err == nil || !strings.HasPrefix(out, "error: gpg has no secret key nobody@example.org\n") {
		t.Errorf("%v: %q", err, out)
	}
	if _, err := os.Stat(filepath.Join(p.dist, "repository")); err == nil {
		t.Error("it left something unsigned")
	}
}

func TestDnfRepository(t *testing.T) {
	p := newPublisher(t)
	for _, tool := range []string{"createrepo_c", "rpmbuild"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: apt-get install createrepo-c rpm", tool)
		}
	}
	spec := filepath.Join(p.dir, "x.spec")
	if err := os.WriteFile(spec, []byte("Name: opstrace-agent\nVersion: 1.0.0\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n%description\nx\n%files\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := p.run("rpmbuild", "-bb", "--define", "_topdir "+p.dir, "--define", "_build_name_fmt opstrace-agent_1.0.0_linux_amd64.rpm",
		"--define", "_rpmdir "+p.dist, spec); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := p.publish("test@example.org", "https://packages.example.org"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rpm := filepath.Join(p.dist, "repository/rpm")
	if out, err := p.run("gpg", "--verify", rpm+"/repodata/repomd.xml.asc", rpm+"/repodata/repomd.xml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	repo := read(t, rpm+"/opstrace-agent.repo")
	for _, want := range []string{"\nbaseurl=https://packages.example.org/rpm\n", "\nrepo_gpgcheck=1\n", "\ngpgkey=https://packages.example.org/opstrace-agent.asc\n"} {
		if !strings.Contains(repo, want) {
			t.Errorf("no %q in\n%s", want, repo)
		}
	}
	for _, f := range []string{rpm + "/opstrace-agent_1.0.0_linux_amd64.rpm", p.dist + "/repository/opstrace-agent.asc"} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
}
