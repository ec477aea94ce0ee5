package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.Zero(t, median(nil))
	require.Equal(t, 3.0, median([]float64{9, 1, 3}))
	require.Equal(t, 2.5, median([]float64{9, 2, 3, 1}))
	values := []float64{3, 1, 2}
	median(values)
	require.Equal(t, []float64{3, 1, 2}, values)
}

func TestResults(t *testing.T) {
	r := results{}
	for _, v := range []float64{30, 10, 20} {
		r.add(tiny, agent, map[measurand]float64{rss: v})
		r.add(tiny, lean, map[measurand]float64{rss: 2 * v, cpu: 0})
	}
	r.add(tiny, agent, map[measurand]float64{cpu: 1})
	r.add(tiny, agent, nil)

	value, ok := r.value(tiny, agent, rss)
	require.True(t, ok)
	require.Equal(t, 20.0, value)
	ratio, ok := r.ratio(tiny, agent, rss)
	require.True(t, ok)
	require.Equal(t, 0.5, ratio)
	low, high := r.spread(tiny, agent, rss)
	require.Equal(t, []float64{10, 30}, []float64{low, high})

	_, ok = r.value(tiny, vmagent, rss)
	require.False(t, ok)
	_, ok = r.ratio(tiny, vmagent, rss)
	require.False(t, ok)
	_, ok = r.ratio(tiny, agent, cpu) // of nothing
	require.False(t, ok)
	_, ok = r.ratio(small, agent, rss)
	require.False(t, ok)
}

func TestMet(t *testing.T) {
	atMost, atLeast := goal{bound: 0.42}, goal{bound: 500_000, atLeast: true}
	require.True(t, atMost.met(0.42))
	require.False(t, atMost.met(0.43))
	require.True(t, atLeast.met(500_000))
	require.False(t, atLeast.met(499_999))
}

func TestDigits(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 2: "2", 0.0123: "0.012", 0.771: "0.771", 7.104: "7.10", 40.04: "40.0", 173.4: "173",
		1234.5: "1,235", 500_000: "500,000", 1_234_567: "1,234,567", -1234.5: "-1,235", -123: "-123",
	} {
		require.Equal(t, want, digits(value))
	}
}

func testReport() *report {
	r := &report{
		machine: machine{processor: "A <CPU>", cores: 2, memory: 1 << 30, kernel: "6.1", goVersion: "go1.26", when: time.Date(2026, 11, 27, 14, 0, 0, 0, time.UTC), loadBefore: "0 0 0"},
		plan:    plan{rounds: 1, scenarios: []scenario{{name: tiny}, {name: small, outage: 30 * time.Second}, {name: large}}},
		peers:   []peer{{name: agent}, {name: lean}, {name: vmagent}},
		results: results{}, loadAfter: "1 1 1",
	}
	r.results.add(tiny, agent, map[measurand]float64{rss: 40, cpu: 0.1})
	r.results.add(tiny, lean, map[measurand]float64{rss: 80, cpu: 1})
	r.results.add(tiny, vmagent, map[measurand]float64{rss: 20})
	r.results.add(small, agent, map[measurand]float64{outageGrowth: 1.01, lostScrapes: 0})
	r.results.add(small, lean, map[measurand]float64{lostScrapes: 2})
	return r
}

func TestMarkdown(t *testing.T) {
	r := testReport()
	text := r.markdown()
	for _, want := range []string{
		"A <CPU>, 2 cores, 1.0 GiB of memory, Linux 6.1, go1.26, 27 November 2026, 14:00.\n",
		"Load averages 0 0 0 before and 1 1 1 after",
		"## 1,000 series every 15 s\n",
		"|                 | agent        | P    | vmagent   | goal                |\n" +
			"| --------------- | ------------ | ---- | --------- | ------------------- |\n" +
			"| RSS, MiB        | 40 (0.50)    | 80   | 20 (0.25) | ≤ 0.42 of P: missed |\n" +
			"| CPU, % of a core | 0.100 (0.10) | 1    | –         | ≤ 0.35 of P: met    |\n",
		"## 10,000 series every 5 s, and an outage of 30s\n",
		"| RSS in the outage / before | 1.01 | – | – | ≤ 1.05 after 10m0s: not measured |\n",
		"| scrapes lost | 0 | 2 | – | ≤ 0: met |\n",
		"## 100,000 series every 5 s\n\nNothing was measured.\n",
	} {
		require.Contains(t, squeeze(text), squeeze(want))
	}
	require.NotContains(t, text, "What went wrong")

	r.missing = []error{errors.New("P, default build is left out: no network")}
	r.failed = []error{errors.New("idle: it ended\nbadly")}
	r.plan.rounds = 3
	r.results.add(tiny, agent, map[measurand]float64{rss: 42})
	text = r.markdown()
	require.Contains(t, text, "- P, default build is left out: no network\n")
	require.Contains(t, text, "## What went wrong\n\n- idle: it ended\n  badly\n")
	require.Contains(t, text, "Medians of 3 rounds")
	require.Contains(t, text, "41 [40–42] (0.51)")
}

// squeeze leaves the widths of columns out.
func squeeze(text string) string {
	for strings.Contains(text, "  ") || strings.Contains(text, "--") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "  ", " "), "--", "-")
	}
	return text
}

// TestColumns: all lines of a table are as wide, in letters.
func TestColumns(t *testing.T) {
	var b strings.Builder
	writeTable(&b, [][]string{{"", "µµµ"}, {"a long one", "–"}})
	require.Equal(t, "|            | µµµ |\n| ---------- | --- |\n| a long one | –   |\n", b.String())
}

func TestVerdict(t *testing.T) {
	r := testReport()
	r.results.add(guest128, agent, map[measurand]float64{availableFall: 13})
	r.results.add(guest128, lean, map[measurand]float64{availableFall: 30})
	r.results.add(guest128, vmagent, map[measurand]float64{availableFall: 12})
	for _, tc := range []struct {
		scenario string
		outage   time.Duration
		m        measurand
		want     string
	}{
		{tiny, 0, rss, "≤ 0.42 of P: missed"},
		{tiny, 0, cpu, "≤ 0.35 of P: met"},
		{tiny, 0, anon, ""},
		{small, 10 * time.Minute, outageGrowth, "≤ 1.05: met"},
		{small, 30 * time.Second, outageGrowth, "≤ 1.05 after 10m0s: not measured"},
		{small, 0, lostScrapes, "≤ 0: met"},
		{large, 0, rss, "≤ 0.80 of P: not measured"},
		{backlogs, 0, catchUpRate, "≥ 500,000: not measured"},
		{guest128, 0, availableFall, "≤ 1.00 of vmagent: missed"},
	} {
		require.Equal(t, tc.want, r.verdict(scenario{name: tc.scenario, outage: tc.outage}, tc.m))
	}
}

// TestSVG: what is written is XML, and has a bar for each ratio that there is.
func TestSVG(t *testing.T) {
	r := testReport()
	r.peers = append(r.peers, peer{name: `<&"`})
	text := r.svg()
	decoder := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := decoder.Token()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.Equal(t, 5, strings.Count(text, `font-size="9"`)) // agent and P twice, vmagent once
	require.Contains(t, text, ">0.50<")
	require.Equal(t, 2, strings.Count(text, "#e53e3e"))
}

func TestProcessorModel(t *testing.T) {
	require.Equal(t, "AMD EPYC", processorModel([]byte("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nmodel name\t: other\n")))
	require.Contains(t, processorModel([]byte("processor\t: 0\n")), "without a name")
}
