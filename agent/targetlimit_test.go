package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

func TestWithoutLongLabels(t *testing.T) {
	t.Parallel()
	long, fits := strings.Repeat("x", 11), strings.Repeat("x", 10)
	target := func(name, value string) model.LabelSet {
		return model.LabelSet{model.LabelName(name): model.LabelValue(value)}
	}
	found := map[string][]*targetgroup.Group{
		"a": {
			{Source: "1", Targets: []model.LabelSet{target("n", fits), target("n", long), target(long, "v"), target(fits, "w")}, Labels: target("g", fits)},
			{Source: "2", Targets: []model.LabelSet{target("n", "v"), target("n", "w")}, Labels: target("g", long)},
			nil,
		},
		"b": {{Source: "3", Targets: []model.LabelSet{target("n", "v")}}, {Source: "4"}},
	}
	before := fmt.Sprintf("%+v", *found["a"][0])
	kept, dropped := withoutLongLabels(found, 10)
	if dropped != 4 || len(kept) != 2 || len(kept["a"]) != 3 || len(kept["b"]) != 2 {
		t.Fatalf("%d dropped, %v kept", dropped, kept)
	}
	// A group without targets is how discovery says that they are gone.
	if g := kept["a"][0]; len(g.Targets) != 2 || g.Targets[0]["n"] != model.LabelValue(fits) || g.Labels["g"] != model.LabelValue(fits) || g.Source != "1" {
		t.Errorf("%+v", g)
	}
	if g := kept["a"][1]; len(g.Targets) != 0 || len(g.Labels) != 0 || g.Source != "2" {
		t.Errorf("%+v", g)
	}
	if kept["a"][2] != nil || kept["b"][0] != found["b"][0] || kept["b"][1] != found["b"][1] {
		t.Errorf("what is short is not passed on as it is: %v", kept)
	}
	if after := fmt.Sprintf("%+v", *found["a"][0]); after != before {
		t.Errorf("discovery's own group was changed to %s", after)
	}
}
