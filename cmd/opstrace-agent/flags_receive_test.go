package main

import (
	"strings"
	"testing"
)

// TestFlagsOfReceivers: flags of receivers go with either of them, and what asks for nothing
// and what is Prometheus' goes without.
func TestFlagsOfReceivers(t *testing.T) {
	t.Parallel()
	const all = "--receive.sync --receive.max-rate=5 --receive.max-series=5 --receive.tenant-label=__tenant__"
	for args, refused := range map[string]bool{
		"":                     false,
		"--no-receive.sync":    false,
		all:                    true,
		"--receive.max-rate=0": true,
		"--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest": false,
		"--web.enable-otlp-receiver " + all:                                              false,
		"--web.enable-remote-write-receiver " + all:                                      false,
		"--no-web.enable-remote-write-receiver " + all:                                   true,
	} {
		f, err := parseRunFlags(strings.Fields(args))
		if err == nil {
			err = f.validate()
		}
		if (err != nil) != refused {
			t.Errorf("%q: %v", args, err)
		}
	}
}
