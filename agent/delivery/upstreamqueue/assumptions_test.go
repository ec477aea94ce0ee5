package upstreamqueue

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestAssumptions: each assumption names the tests that hold it, and each test
// of the contract is named.
func TestAssumptions(t *testing.T) {
	text, err := os.ReadFile("assumptions.go")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(code, -1) {
			tests[string(m[1])] = true
		}
	}
	named := map[string]bool{}
	_, list, _ := strings.Cut(string(text), "# What is assumed")
	for _, assumption := range strings.Split(list, "//   - ")[1:] {
		name, _, _ := strings.Cut(assumption, ".")
		_, holders, ok := strings.Cut(strings.Join(strings.Fields(strings.ReplaceAll(assumption, "//", "")), " "), "Held by ")
		if !ok {
			t.Errorf("nothing holds %s", name)
		}
		for _, test := range regexp.MustCompile(`Test\w+`).FindAllString(holders, -1) {
			if !tests[test] {
				t.Errorf("%s is held by %s, which does not exist", name, test)
			}
			named[test] = true
		}
	}
	if len(named) == 0 {
		t.Error("no assumptions were found")
	}
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		if strings.HasPrefix(test, "TestContract") && !named[test] {
			t.Errorf("%s holds nothing", test)
		}
	}
}
