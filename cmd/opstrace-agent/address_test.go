package main

import (
	"path/filepath"
	"testing"
)

// TestServiceAddress: a command that asks the agent asks the installed service where its
// flags have it listen.
func TestServiceAddress(t *testing.T) {
	t.Parallel()
	const usual = "http://127.0.0.1:9095/"
	if got := serviceAddress(t.TempDir()); got != usual {
		t.Errorf("without a service: %s", got)
	}
	for defaults, want := range map[string]string{
		"": usual,
		"ARGS=\"--web.listen-address=127.0.0.1:9096\"\n":                                usual[:len(usual)-2] + "6/",
		"ARGS=\"--web.listen-address=:9096 --web.route-prefix=/agent\"\n":               "http://localhost:9096/agent",
		"ARGS=\"--web.listen-address=0.0.0.0:9097 --web.listen-address=[::1]:9098\"\n":  "http://[::1]:9098/",
		"ARGS=\"--web.listen-address=127.0.0.1:9096 --web.config.file=/etc/web.yml\"\n": usual,
		"ARGS=\"--no-such-flag\"\n":                                                     usual,
	} {
		root := t.TempDir()
		write(t, filepath.Join(root, serviceUnits[0]), "")
		write(t, filepath.Join(root, serviceFlags), defaults)
		if got := serviceAddress(root); got != want {
			t.Errorf("%q: %s instead of %s", defaults, got, want)
		}
	}
}
