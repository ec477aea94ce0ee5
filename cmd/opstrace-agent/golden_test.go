package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata, after the replacements, which come
// in pairs of old and new.
func golden(t *testing.T, name, got string, replace ...string) {
	t.Helper()
	got = strings.NewReplacer(replace...).Replace(got)
	got = varying.ReplaceAllString(got, "TIME")
	got = loopback.ReplaceAllString(got, "127.0.0.1:PORT")
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

var (
	varying  = regexp.MustCompile(`\b\d+ m?s\b|\d{4}-\d\d-\d\d\b|[0-9.]+ (B|KiB)\b`)
	loopback = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)
