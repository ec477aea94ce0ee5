package packaging

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/modfile"
)

const leanWork = "lean/go.work"

// makes returns what make says, without what the make that runs this test was given.
func makes(args ...string) (string, error) {
	cmd := exec.Command("make", append([]string{"-C", "..", "--no-print-directory"}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "TAGS=") })
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// leanTags are those that what is shipped is built with.
var leanTags = sync.OnceValue(func() string {
	out, err := makes("-s", "lean-tags")
	if err != nil {
		panic(out)
	}
	return strings.TrimSpace(out)
})

// leanEnvironment makes the go command build what is shipped.
func leanEnvironment() []string { return goEnvironment(leanWork, leanTags()) }

func goEnvironment(work, tags string) []string {
	if work != "off" {
		var err error
		if work, err = filepath.Abs(work); err != nil {
			panic(err) // there is no working directory
		}
	}
	return append(os.Environ(), "GOWORK="+work, "GOFLAGS=-buildvcs=false -tags="+tags)
}

// logins has an entry of remote_write for each cloud, with the login in its last line.
var logins = map[string]string{
	"AWS":          "  sigv4: {region: eu-west-1, access_key: a, secret_key: s}\n",
	"Azure":        "  azuread: {managed_identity: {client_id: 00000000-0000-0000-0000-000000000001}}\n",
	"Google Cloud": "  google_iam: {credentials_file: google.json}\n",
}

const withoutLogin = "scrape_configs: [{job_name: a}]\nremote_write:\n- url: http://127.0.0.1:1/push\n"

// refusal is what the shipped program says of a login in line 4 of a file.
func refusal(file, cloud, entry string) string {
	field, _, _ := strings.Cut(strings.TrimSpace(entry), ":")
	return fmt.Sprintf("error: %s:4: %s: this build has no login of %s\nhint: use the full build, opstrace-agent-full, which has the logins of AWS, Azure and Google Cloud: `make full` in the sources builds it\n", file, field, cloud)
}

func TestLeanRefusesLogins(t *testing.T) {
	for cloud, entry := range logins {
		dir := t.TempDir()
		file := filepath.Join(dir, "agent.yml")
		if err := os.WriteFile(file, []byte(withoutLogin+entry), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{
			"check config " + file,
			"check push " + file,
			"check targets " + file,
			"--config.file=" + file + " --storage.agent.path=" + filepath.Join(dir, "data") + " --web.listen-address=127.0.0.1:0",
			"init --cluster=c --tenant=t --from=" + file,
		} {
			var stderr strings.Builder
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // one that is not refused runs
			cmd := exec.CommandContext(ctx, agentBinary, strings.Fields(command)...)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			cancel()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 || len(out) != 0 || !strings.HasSuffix(stderr.String(), refusal(file, cloud, entry)) {
				t.Errorf("%s: %v\n%s%s", command, err, out, &stderr)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
			t.Errorf("%s: refused after the storage was opened", cloud)
		}
	}
}

// What was written in brackets is taken apart in another way.
func TestLeanInitFromBrackets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent.yml")
	text := "scrape_configs: [{job_name: a}]\nremote_write: [\n {url: 'http://127.0.0.1:1/push',\n  google_iam: {}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(agentBinary, "init", "--cluster=c", "--tenant=t", "--from="+file).CombinedOutput()
	if want := refusal(file, "Google Cloud", "google_iam:"); err == nil || string(out) != want {
		t.Errorf("%v\n%s\nwant %s", err, out, want)
	}
}

func TestLeanRefusesReload(t *testing.T) {
	base, file := startAgent(t, withoutLogin)
	ready := func() bool {
		resp, err := http.Get(base + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the agent does not get ready")
		}
	}
	for cloud, entry := range logins {
		if err := os.WriteFile(file, []byte(withoutLogin+entry), 0o600); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post(base+"/-/reload", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		message, _, _ := strings.Cut(strings.TrimPrefix(refusal(file, cloud, entry), "error: "), "\n")
		if err != nil || resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), message) {
			t.Errorf("%s: %s, %v\n%s", cloud, resp.Status, err, body)
		}
	}
}

// TestTagAndStandInsGoTogether: what refuses and what cannot are chosen by two
// settings, and one of them alone builds nothing.
func TestTagAndStandInsGoTogether(t *testing.T) {
	for name, tc := range map[string]struct{ work, tags, want string }{
		"both":         {leanWork, leanTags(), ""},
		"tag alone":    {"off", leanTags(), `undefined: sigv4\.Removed`},
		"go.work only": {leanWork, "remove_all_sd,enable_dns_sd", "build constraints exclude all Go files in .*packaging/lean/sigv4"},
	} {
		build := exec.Command("go", "build", "../scrapeconfig")
		build.Env = goEnvironment(tc.work, tc.tags)
		out, err := build.CombinedOutput()
		if (err == nil) != (tc.want == "") || !regexp.MustCompile(tc.want).Match(out) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestLeanLinksWhatIsInGoMod: a workspace chooses versions by itself, and a library
// that a stand-in was to keep out can come in by another way.
func TestLeanLinksWhatIsInGoMod(t *testing.T) {
	mod, err := modfile.Parse("go.mod", []byte(read(t, "../go.mod")), nil)
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, r := range mod.Require {
		versions[r.Mod.Path] = r.Mod.Version
	}
	info, err := buildinfo.ReadFile(agentBinary)
	if err != nil {
		t.Fatal(err)
	}
	var standIns []string
	for _, m := range info.Deps {
		switch {
		case m.Version == "(devel)":
			standIns = append(standIns, m.Path)
		case m.Version != versions[m.Path] || m.Replace != nil:
			t.Errorf("%s %s is linked, go.mod has %q", m.Path, m.Version, versions[m.Path])
		}
		if regexp.MustCompile(`(?i)^(github\.com/(aws|azuread|azure/.*/internal)|cloud\.google\.com/go/auth)\b`).MatchString(m.Path) {
			t.Errorf("%s is linked", m.Path)
		}
	}
	work, err := modfile.ParseWork(leanWork, []byte(read(t, leanWork)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, u := range work.Use {
		used = append(used, u.ModulePath)
		if text := read(t, filepath.Join("lean", u.Path, "go.mod")); u.Path != "../.." {
			used[len(used)-1] = modfile.ModulePath([]byte(text))
		}
	}
	slices.Sort(used)
	if used = slices.DeleteFunc(used, func(s string) bool { return s == "" }); !slices.Equal(standIns, used) {
		t.Errorf("%q stand in, %s has %q", standIns, leanWork, used)
	}
}

// TestEverybodyBuildsTheSame: what a maintainer builds, what is released and what is in
// the image.
func TestEverybodyBuildsTheSame(t *testing.T) {
	print := func(target string) string {
		out, err := makes("-n", target)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	if tags := leanTags(); !strings.HasPrefix(tags, "remove_all_sd,enable_dns_sd,remove_cloud_logins,no") {
		t.Errorf("the tags are %s", tags)
	}
	if lean := print("build"); !strings.Contains(lean, "-tags="+leanTags()+" ") || !regexp.MustCompile(`GOWORK="\S+/packaging/`+leanWork+`" `).MatchString(lean) {
		t.Errorf("make build runs\n%s", lean)
	}
	if full := print("full"); strings.Contains(full, "GOWORK") || strings.Contains(full, "-tags") {
		t.Errorf("make full runs\n%s", full)
	}
	for name, want := range map[string]struct {
		work, tags string
		times      int
	}{
		"release.sh": {`GOWORK="$lean"`, "-tags=$tags", 2},
		"Dockerfile": {"GOWORK=/src/packaging/" + leanWork, `-tags=$(make -s lean-tags)`, 2},
	} {
		text := read(t, name)
		if strings.Count(text, want.work) != want.times || strings.Count(text, want.tags) != want.times || strings.Count(text, "-tags=") != want.times {
			t.Errorf("%s does not set %s and %s for the program and its licences", name, want.work, want.tags)
		}
	}
	if text := read(t, "release.sh"); !strings.Contains(text, "\ntags=$(make --no-print-directory -s lean-tags)\n") || !strings.Contains(text, "\nlean=$PWD/packaging/"+leanWork+" ") {
		t.Error("release.sh builds something else")
	}
}

// TestLeftOutCollectors: each tag that is to leave a collector out does.
func TestLeftOutCollectors(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/node_exporter").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "collector", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(err, files)
	}
	var constraints strings.Builder
	for _, file := range files {
		constraint, _, _ := strings.Cut(read(t, file), "\npackage ")
		constraints.WriteString(constraint + "\n")
	}
	for tag := range strings.SplitSeq(leanTags(), ",") {
		if strings.HasPrefix(tag, "no") && !regexp.MustCompile(`!`+tag+`\b`).MatchString(constraints.String()) {
			t.Errorf("no file of node_exporter is left out by the tag %s", tag)
		}
	}
}
