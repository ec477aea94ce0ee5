package main

import (
	"runtime/debug"
	"slices"
	"testing"
)

// A vulnerability of a module that something stands in for would be reported of a
// program that it is not in.
func TestStandInsAreNoComponents(t *testing.T) {
	b, err := newBOM(&debug.BuildInfo{
		GoVersion: "go1.27.3",
		Main:      debug.Module{Path: "example.org/agent", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.org/linked", Version: "v1.0.0"},
			{Path: "example.org/standin", Version: "(devel)"},
			{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v1.1.0"}},
		},
	}, "0.2.0")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"pkg:golang/std@1.27.3", "pkg:golang/example.org/linked@v1.0.0", "pkg:golang/example.org/fork@v1.1.0"}
	if got := b.Dependencies[0].DependsOn; !slices.Equal(got, want) || len(b.Components) != len(want) {
		t.Errorf("%q, %d components, want %q", got, len(b.Components), want)
	}
}
