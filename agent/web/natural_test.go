package web

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/scrape"
)

func TestNaturalOrder(t *testing.T) {
	want := []string{
		"", "1", "2", "10", "Job-3", "job", "job-1", "job-01", "job-2", "job-2-a", "job-10", "job-10-9", "job-10-10",
		"job-99999999999999999999998", "job-99999999999999999999999", "job-x", "jobs", "ä2", "ä10",
	}
	want[6], want[7] = want[7], want[6] // the same number: by its bytes
	got := slices.Clone(want)
	slices.Sort(got)
	slices.SortFunc(got, naturalCompare)
	if !slices.Equal(got, want) {
		t.Errorf("\n%q instead of\n%q", got, want)
	}
	for _, a := range want {
		for _, b := range want {
			if naturalCompare(a, b) != -naturalCompare(b, a) || (naturalCompare(a, b) == 0) != (a == b) {
				t.Errorf("%q and %q have no order", a, b)
			}
		}
	}
}

// Pools, and the targets in them, are in an order that people look them up in.
func TestTargetsInNaturalOrder(t *testing.T) {
	set := targetSet{pools: []string{"job-10", "job-2", "job-1"}, active: map[string][]*scrape.Target{
		"job-10": nil, "job-1": nil, "job-2": {fakeTarget("h-10:9100"), fakeTarget("h-9:9100")},
	}}
	v := viewTargets(set, query{})
	var pools, urls []string
	for _, p := range v.Pools {
		pools = append(pools, p.Name)
		for _, r := range p.Rows {
			urls = append(urls, r.URL)
		}
	}
	// The one with targets that were not scraped yet comes first.
	if got := strings.Join(pools, " "); got != "job-2 job-1 job-10" {
		t.Errorf("pools: %s", got)
	}
	if got := strings.Join(urls, " "); got != "http://h-9:9100/metrics http://h-10:9100/metrics" {
		t.Errorf("targets: %s", got)
	}
}
