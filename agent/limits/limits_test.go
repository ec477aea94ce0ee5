package limits

import (
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

func TestFrom(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		memory int64
		series uint64
		body   int64
	}{
		{0, 0, SafeBodySize},
		{-1, 0, SafeBodySize},
		{math.MaxInt64, 0, SafeBodySize},
		{8 * mib, 2000, mib},
		{32 * mib, 2000, 2 * mib},
		{64 * mib, 8192, 4 * mib},
		{96 * mib, 16384, 6 * mib},
		{460 * mib, 109568, SafeBodySize},
		{16 << 30, 4186112, SafeBodySize},
	} {
		l := From(c.memory)
		if l.MaxSeries != c.series || l.BodySize != c.body || l.LabelLength == 0 || l.Labels == 0 {
			t.Errorf("%d MiB: %+v, expected %d series and %d bytes", c.memory/mib, l, c.series, c.body)
		}
	}
}

func TestOr(t *testing.T) {
	t.Parallel()
	d := Limits{1, 2, 3, 4}
	for _, c := range []struct{ set, want Limits }{
		{Limits{}, d},
		{Limits{MaxSeries: 9}, Limits{9, 2, 3, 4}},
		{Limits{BodySize: 9}, Limits{1, 9, 3, 4}},
		{Limits{LabelLength: 9}, Limits{1, 2, 9, 4}},
		{Limits{Labels: 9}, Limits{1, 2, 3, 9}},
	} {
		if got := c.set.Or(d); got != c.want {
			t.Errorf("%+v: %+v", c.set, got)
		}
	}
}

// TestConfigure: what the file says wins, for a job and for all.
func TestConfigure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		global, job string
		want        string
		warnings    int
	}{
		"nothing set":           {"", "", "4MiB", 0},
		"set to no limit":       {"body_size_limit: 0", "body_size_limit: 0", "4MiB", 0},
		"set for all":           {"body_size_limit: 9MB", "", "9MiB", 0},
		"set for the job":       {"body_size_limit: 9MB", "body_size_limit: 3MB", "3MiB", 0},
		"set too large":         {"", "body_size_limit: 100MB", "100MiB", 1},
		"set just small enough": {"", "body_size_limit: 15MB", "15MiB", 0},
	} {
		cfg, err := config.Load("global: {"+c.global+"}\nscrape_configs: [{job_name: a, "+c.job+"}]\n", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a configuration may be applied again
			warnings := Limits{BodySize: 4 << 20}.Configure(cfg)
			if got := cfg.ScrapeConfigs[0].BodySizeLimit.String(); got != c.want || len(warnings) != c.warnings {
				t.Errorf("%s: %s, %q", name, got, warnings)
			}
			for _, w := range warnings {
				if !strings.Contains(w, `job "a" is 100MiB`) {
					t.Errorf("%s: %q", name, w)
				}
			}
		}
		if cfg.GlobalConfig.BodySizeLimit <= 0 {
			t.Errorf("%s: jobs of scrape_config_files inherit no limit", name)
		}
	}
}

func TestCheckLabels(t *testing.T) {
	t.Parallel()
	l := Limits{LabelLength: 10, Labels: 3}
	long, fits := strings.Repeat("x", 11), strings.Repeat("x", 10)
	for want, all := range map[string][]labels.Labels{
		"":                {labels.FromStrings("a", fits, fits, "b", "c", "d")},
		"label_too_long":  {labels.FromStrings("a", long), labels.FromStrings(long, "a"), labels.FromStrings("__name__", long), labels.FromStrings("a", long, "b", "1", "c", "1", "d", "1")},
		"too_many_labels": {labels.FromStrings("a", "1", "b", "1", "c", "1", "d", "1")},
	} {
		for _, ls := range all {
			if got := l.Refuse(ls); got != want {
				t.Errorf("%s: %q", ls, got)
			}
		}
	}
}

func TestCeiling(t *testing.T) {
	for _, c := range []struct{ max, small, forSmall, forOthers uint64 }{
		{8192, 512, 8192, 6144},
		{100, 6, 100, 75},
		{10, 1, 10, 8},
		{1, 1, 1, 1},
	} {
		if small, for1, for2 := SmallTarget(c.max), Ceiling(c.max, true), Ceiling(c.max, false); small != c.small || for1 != c.forSmall || for2 != c.forOthers {
			t.Errorf("%+v: %d, %d, %d", c, small, for1, for2)
		}
	}
	if SmallTarget(0) == 0 {
		t.Error("without a ceiling, no target is small")
	}
}

// TestRoom: what a target gets where others have taken some already.
func TestRoom(t *testing.T) {
	for _, c := range []struct{ max, taken, wanted, want uint64 }{
		{0, 1e6, 1e6, 1e6},
		{160, 0, 160, 120}, // the last quarter is for the small
		{160, 0, 100, 100},
		{160, 100, 100, 20},
		{160, 115, 100, 10}, // as a small one would
		{160, 120, 10, 10},
		{160, 155, 10, 5},
		{160, 200, 10, 0},
	} {
		if got := Room(c.max, c.taken, c.wanted); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}
