package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/golden"
)

var (
	varying  = regexp.MustCompile(`\b\d+ m?s\b|\d{4}-\d\d-\d\d\b|[0-9.]+ (B|KiB)\b`)
	loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// compareGolden compares with a file in testdata what is left of got without
// that which differs from run to run. The replacements come in pairs of old and
// new.
func compareGolden(t *testing.T, name, got string, replace ...string) {
	t.Helper()
	got = strings.NewReplacer(replace...).Replace(got)
	got = varying.ReplaceAllString(got, "TIME")
	golden.Compare(t, name, loopback.ReplaceAllString(got, "127.0.0.1:PORT"))
}
