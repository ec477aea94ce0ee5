package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDeliveredRows: each row of the README's table "What is delivered" names tests
// that hold it, and those are there.
func TestDeliveredRows(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## What is delivered\n")
	table, _, _ := strings.Cut(section, "\nThe limits:\n")
	there := testsInTree(t)
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| what happens ") {
			continue
		}
		rows++
		tests := regexp.MustCompile("`(Test[A-Za-z0-9]+)[`/]").FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			t.Errorf("no test holds this row: %s", line)
		}
		for _, name := range tests {
			if !there[name[1]] {
				t.Errorf("%s is not there: %s", name[1], line)
			}
		}
	}
	if rows == 0 {
		t.Error("there is no such table")
	}
}

// testsInTree returns the names of all tests.
func testsInTree(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(repository, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
