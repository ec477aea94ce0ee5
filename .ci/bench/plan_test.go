package main

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInTurn(t *testing.T) {
	all := []string{"a", "b", "c"}
	require.Equal(t, []string{"a", "b", "c"}, inTurn(all, 0))
	require.Equal(t, []string{"c", "b", "a"}, inTurn(all, 1))
	require.Equal(t, []string{"a", "b", "c"}, inTurn(all, 2))
	require.Equal(t, []string{"a", "b", "c"}, all)
}

// TestFakes: the targets together show what the scenario says, every scrape, and in ten
// minutes a tenth that is new.
func TestFakes(t *testing.T) {
	for _, tc := range []struct {
		scenario
		fresh int // in ten minutes
	}{
		{scenario{series: 0, interval: time.Second}, 0},
		{scenario{series: 1000, interval: 15 * time.Second}, 0},
		{scenario{series: 1000, interval: 15 * time.Second, churn: true}, 120},
		{scenario{series: 10_000, interval: 5 * time.Second, churn: true}, 960},
		{scenario{series: 100_000, interval: 5 * time.Second, churn: true}, 9960},
	} {
		series, churn, names := 0, 0, map[string]bool{}
		for _, f := range tc.fakes() {
			require.Positive(t, f.series)
			series += 1 + f.series + f.churn
			churn += f.churn
			names[f.name] = true
		}
		require.Equal(t, tc.series, series)
		require.Equal(t, tc.fresh, churn*int(10*time.Minute/tc.interval), "%d series", tc.series)
		require.Len(t, names, len(tc.fakes()))
	}
}

// TestPlans: windows have whole scrapes, after a first one of every target.
func TestPlans(t *testing.T) {
	for _, p := range []plan{fullPlan, quickPlan} {
		for _, s := range p.scenarios {
			if s.series > 0 {
				require.Zero(t, s.window%s.interval, s.name)
				require.Greater(t, s.warm, s.interval, s.name)
			}
			require.Zero(t, s.outage%(2*time.Second), s.name)
		}
	}
	require.Less(t, quickPlan.duration(len(quickPlan.peers)), 6*time.Minute)
	require.Equal(t, 3*4*quickPlan.duration(1), plan{rounds: 3, scenarios: quickPlan.scenarios}.duration(4))
}

func TestOnly(t *testing.T) {
	all := regexp.MustCompile("")
	require.Equal(t, fullPlan, fullPlan.only(all, all))
	p := fullPlan.only(regexp.MustCompile("^idle"), regexp.MustCompile("^P"))
	require.Len(t, p.scenarios, 1)
	require.Equal(t, []string{lean, standard}, p.peers)
	require.Len(t, fullPlan.scenarios, 8)
}

// TestGoals: every goal is tied to a scenario and a figure that there are.
func TestGoals(t *testing.T) {
	for _, g := range goals {
		require.Contains(t, measurands, g.measurand)
		found := false
		for _, s := range append(slices.Clone(fullPlan.scenarios), guestPlan.scenarios...) {
			found = found || s.name == g.scenario
		}
		require.True(t, found, g.scenario)
	}
}

func TestNewest(t *testing.T) {
	words := []string{"github.com/x/y", "v1.9.0", "v1.151.0", "v1.154.1", "v1.154.0-rc1", "v1.154.0"}
	require.Equal(t, []string{"v1.154.1", "v1.154.0", "v1.151.0"}, newest(words, 3))
	require.Len(t, newest(words, 10), 4)
	require.Empty(t, newest(words[:1], 3))
}

func TestSourceFile(t *testing.T) {
	names := map[string]bool{}
	for _, s := range []source{
		{command: "cmd/prometheus", version: "v1.0.0"}, {command: "cmd/prometheus", version: "v1.0.1"},
		{command: "cmd/prometheus", version: "v1.0.0", tags: "a,b"}, {command: "app/vmagent", version: "v1.0.0"},
	} {
		names[s.file()] = true
	}
	require.Len(t, names, 4)
	require.True(t, names["prometheus-v1.0.0-a-b"])
}

func TestConfiguration(t *testing.T) {
	require.Equal(t, "global:\n  scrape_interval: 5s\nscrape_configs:\n  - job_name: x\nremote_write:\n  - url: http://sink\n",
		peer{remoteWrite: true}.configuration("  - job_name: x\n", "http://sink", 5*time.Second))
	require.Equal(t, "global:\n  scrape_interval: 15s\nscrape_configs: []\n",
		peer{}.configuration("", "http://sink", 15*time.Second))
}
