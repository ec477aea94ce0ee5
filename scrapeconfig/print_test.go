package scrapeconfig

import (
	"testing"

	"github.com/go-kit/log"
)

// What is printed means what it was printed from.
func TestPrintLoads(t *testing.T) {
	t.Setenv("SCRAPECONFIG_TEST_SITE", "berlin")
	for _, path := range goodFiles(t) {
		cfg, err := LoadFile(path, log.NewNopLogger())
		if err != nil {
			t.Fatal(err)
		}
		want, err := Print(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Print(mustLoad(t, want))
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
		}
	}
}

func TestPrintHidesURLs(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example.com/push":          "https://a.example.com/push",
		"https://user:pass@a/push":            "https://xxxxx@a/push",
		"https://token@a/push":                "https://xxxxx@a/push",
		"https://u:p@p@a/push?x=1&y=2&z#frag": "https://xxxxx@a/push?x=xxxxx&y=xxxxx&z#frag",
		"https://a/path@b?x=":                 "https://a/path@b?x=xxxxx",
		"user@example.com?x=1":                "user@example.com?x=1",
	} {
		if got := redactURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// Upstream's errors quote what they cannot parse.
func TestErrorHidesPassword(t *testing.T) {
	_, err := Load([]byte("remote_write:\n- url: https://u:se/cret@a/push\n"), "agent.yml", nil)
	want := `agent.yml:2: parse "https://xxxxx@a/push": invalid port ":se" after host`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
