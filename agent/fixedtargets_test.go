package agent

import (
	"reflect"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/file"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

func TestSplitFixed(t *testing.T) {
	t.Parallel()
	one := &targetgroup.Group{Source: "0", Targets: []model.LabelSet{{"__address__": "a:1"}}}
	two := &targetgroup.Group{Source: "1", Targets: []model.LabelSet{{"__address__": "b:1"}, {"__address__": "c:1"}}}
	files := &file.SDConfig{Files: []string{"targets.yml"}}
	fixed, rest := splitFixed(map[string]discovery.Configs{
		"nothing": {},
		"one":     {discovery.StaticConfig{one}},
		"two":     {discovery.StaticConfig{one}, discovery.StaticConfig{two}},
		"files":   {files},
		"both":    {discovery.StaticConfig{one}, files},
	})
	if want := (targetSets{"nothing": nil, "one": {one}, "two": {one, two}}); !reflect.DeepEqual(fixed, want) {
		t.Errorf("fixed are %v", fixed)
	}
	if want := (map[string]discovery.Configs{"files": {files}, "both": {discovery.StaticConfig{one}, files}}); !reflect.DeepEqual(rest, want) {
		t.Errorf("left to discover are %v", rest)
	}
	// A job that has become fixed is in what was discovered until discovery has looked.
	if got, want := both(targetSets{"one": {two}, "files": {two}}, fixed), (targetSets{"nothing": nil, "one": {one}, "two": {one, two}, "files": {two}}); !reflect.DeepEqual(got, want) {
		t.Errorf("both are %v", got)
	}
}

// TestFixedTargetsLatest: who takes none for a while gets the latest, and whoever sets
// them waits for nobody.
func TestFixedTargetsLatest(t *testing.T) {
	t.Parallel()
	f := newFixedTargets()
	f.set(targetSets{"old": nil})
	f.set(targetSets{"new": nil})
	if got := <-f.news; !reflect.DeepEqual(got, targetSets{"new": nil}) {
		t.Errorf("got %v", got)
	}
}
