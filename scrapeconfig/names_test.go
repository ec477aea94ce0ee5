package scrapeconfig

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
)

func namesIn(t *testing.T, content string) []string {
	t.Helper()
	var names []string
	for _, rw := range mustLoad(t, content).RemoteWriteConfigs {
		names = append(names, rw.Name)
	}
	return names
}

// What is on disk for a destination is kept under its name.
func TestNameStaysTheSame(t *testing.T) {
	const entry = "remote_write:\n- url: https://a.example.com/push\n"
	want := namesIn(t, entry)[0]
	if want != "a.example.com-b790ac80" {
		t.Errorf("got %s: a new version would forget every destination without a name", want)
	}
	for _, field := range []string{
		"queue_config: {capacity: 7, max_shards: 3}", "metadata_config: {send: false}", "remote_timeout: 7s",
		"bearer_token: a", "bearer_token_file: a", "basic_auth: {username: a, password: b}", "headers: {X-Key: a}",
		"tls_config: {insecure_skip_verify: true}", "write_relabel_configs: [{action: drop, source_labels: [a], regex: b}]",
		"proxy_url: http://proxy", "send_exemplars: true", "follow_redirects: false",
	} {
		if got := namesIn(t, entry+"  "+field); got[0] != want {
			t.Errorf("with %s: %s, want %s", field, got[0], want)
		}
	}
	others := "global: {external_labels: {a: b}}\nremote_write:\n- url: https://b.example.com/push\n- url: https://a.example.com/push\n"
	if got := namesIn(t, others); got[1] != want {
		t.Errorf("below another entry: %s, want %s", got[1], want)
	}
	if got := namesIn(t, "remote_write:\n- url: https://a.example.com/push?x=y\n"); got[0] == want {
		t.Errorf("another URL has the same name, %s", got[0])
	}
}

// Entries with one URL are told apart by what is different, and each is named
// the same whatever their order and whatever their secrets.
func TestNamesOfOneURL(t *testing.T) {
	const head = "remote_write:\n"
	entries := []string{
		"- {url: https://a/push, headers: {X-Scope-OrgID: one}}\n",
		"- {url: https://a/push, headers: {X-Scope-OrgID: two}}\n",
		"- {url: https://a/push, basic_auth: {username: one, password: SECRET}}\n",
		"- {url: https://a/push, basic_auth: {username: two, password: SECRET}}\n",
		"- {url: https://a/push, basic_auth: {username: two, password: SECRET}, write_relabel_configs: [{action: labeldrop, regex: a}]}\n",
		"- {url: https://a/push, bearer_token_file: one}\n",
		"- {url: https://u:SECRET@a/push}\n",
	}
	want := namesIn(t, head+strings.Join(entries, ""))
	if n := len(slices.Compact(slices.Sorted(slices.Values(want)))); n != len(entries) {
		t.Fatalf("%d names for %d entries: %v", n, len(entries), want)
	}
	slices.Reverse(entries)
	got := namesIn(t, strings.ReplaceAll(head+strings.Join(entries, ""), "SECRET", "rotated"))
	slices.Reverse(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The user is told that such a name is less stable than others.
func TestNamesOfOneURLAreLogged(t *testing.T) {
	var out strings.Builder
	content := "remote_write: [{url: http://a, bearer_token_file: one}, {url: http://a, bearer_token_file: two}, {url: http://b}]"
	if _, err := Load([]byte(content), "", log.NewLogfmtLogger(&out)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "level=warn"); got != 2 {
		t.Errorf("got %d warnings: %s", got, out.String())
	}
}
