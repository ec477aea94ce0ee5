package agent

import (
	"reflect"
	"runtime"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
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
	f.set(fixedSets{targetSets{"old": nil}, true})
	f.set(fixedSets{targetSets{"new": nil}, false})
	if got := <-f.news; !reflect.DeepEqual(got, fixedSets{targetSets{"new": nil}, false}) {
		t.Errorf("got %v", got)
	}
}

// TestFirstSets: at a start, upstream takes up the first sets that it is given at once,
// and others 5 s later. So the first are of both kinds, where there are both.
func TestFirstSets(t *testing.T) {
	t.Parallel()
	l, err := newTargetLimit(log.NewNopLogger(), prometheus.NewRegistry(), newSkips(log.NewNopLogger()))
	if err != nil {
		t.Fatal(err)
	}
	f := newFixedTargets()
	discovered, out, stop := make(chan targetSets), make(chan targetSets), make(chan struct{})
	go l.pass(discovered, f.news, out, stop)
	f.set(fixedSets{targetSets{"fixed": {}}, true})
	for len(f.news) > 0 { // it is taken before the other
		runtime.Gosched()
	}
	discovered <- targetSets{"found": {}}
	if got := <-out; len(got) != 2 {
		t.Errorf("the first sets are %v", got)
	}
	close(stop)
	if _, more := <-out; more {
		t.Error("it goes on after the stop")
	}

	// What discovery does not bring is not waited for, and nothing is not handed on.
	out, stop = make(chan targetSets), make(chan struct{})
	go l.pass(discovered, f.news, out, stop)
	f.set(fixedSets{targetSets{"fixed": {}}, true})
	if got := <-out; len(got) != 1 {
		t.Errorf("the first sets are %v", got)
	}
	close(stop)
}
