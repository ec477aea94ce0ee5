package agent_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/prometheus/prometheus/discovery/file" // file_sd_configs
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// smallHost is what a process in MemoryMax=96M may use.
const smallHost = "GOMEMLIMIT=86MiB"

// goodTargets are the neighbours of those that hurt.
func (r *rig) goodTargets(n int) (all []*agenttest.Target) {
	for i := range n {
		all = append(all, r.targets.Add(fmt.Sprintf("good-%d", i), agenttest.TargetOptions{Series: 10}))
	}
	return all
}

// awaitMore waits until each of the targets has answered n more scrapes.
func (r *rig) awaitMore(n int, targets ...*agenttest.Target) {
	r.t.Helper()
	want := map[*agenttest.Target]int{}
	for _, target := range targets {
		want[target] = len(target.Answered()) + n
	}
	r.eventually(fmt.Sprintf("%d more scrapes of each", n), func() error {
		for target, n := range want {
			if got := len(target.Answered()); got < n {
				return fmt.Errorf("%s: %d of %d", target.Name, got, n)
			}
		}
		return nil
	})
}

// badJob is a scrape configuration of its own for a target that answers as it
// likes; settings are indented by four.
func (r *rig) badJob(name, settings string, answer func(w http.ResponseWriter)) {
	bad, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(bad.Close)
	bad.Add(name, agenttest.TargetOptions{Answer: func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		answer(w)
		return true
	}})
	r.jobs += bad.ScrapeConfig(name, 2*time.Second) + settings
}

// again writes begin, and then b until the other side has had enough.
func again(encoding string, begin, b []byte) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		if encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		if _, err := w.Write(begin); err != nil {
			return
		}
		for {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}
}

// metric is the value of a series of the agent's own metrics; 0 if there is none.
func (r *rig) metric(series string) float64 {
	b, _, err := r.get("/metrics")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return v
		}
	}
	return 0
}

// failsWith waits until a target's scrape has failed with these words.
func (r *rig) failsWith(instance, words string) {
	r.t.Helper()
	r.eventually(instance+" to fail", func() error {
		b, _, err := r.get("/targets")
		if err != nil {
			return err
		}
		if !regexp.MustCompile("(?m)^" + instance + ": .*" + words).Match(b) {
			return fmt.Errorf("%s", b)
		}
		return nil
	})
}

// limitMemory makes what lives in the agent now so many percent of what may; 0: there
// is no limit.
func (r *rig) limitMemory(percent int) {
	r.t.Helper()
	if body, status, err := r.get(fmt.Sprintf("/memory?percent=%d", percent)); err != nil || status != http.StatusOK {
		r.t.Fatal(status, err, string(body))
	}
}

// peak is the most memory that the agent's process ever had, in bytes.
func (r *rig) peak() int64 {
	r.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	if err != nil {
		r.t.Skip("no /proc to ask for the memory:", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		r.t.Fatalf("no VmHWM in %s", b)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return kb << 10
}

// TestHugeLabel: upstream's parser panics at a label of more than 16 MiB, and the
// process would be gone, again after each restart. The answer must be refused
// before it is parsed.
func TestHugeLabel(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.interval = time.Second
	good := r.goodTargets(20)
	body := "huge{label=\"" + strings.Repeat("x", 50<<20) + "\"} 1\n"
	r.badJob("value", "", func(w http.ResponseWriter) { fmt.Fprint(w, body) })
	r.badJob("name", "", func(w http.ResponseWriter) { fmt.Fprint(w, body[len(`huge{label="`):][:20<<20]+" 1\n") })
	r.start()
	r.failsWith("value", "body size limit exceeded")
	r.failsWith("name", "body size limit exceeded")
	r.awaitMore(3, good...)
	r.awaitAll(r.endpoint, good...)
	r.awaitLedger("one", r.endpoint)
}

// TestBombs: answers without an end, and small ones that unfold without an end,
// cost their targets only.
func TestBombs(t *testing.T) {
	t.Parallel()
	newRig(t, agenttest.Manners{}).bombs()
}

func (r *rig) bombs() {
	t := r.t
	// gzip allows for any number of members behind each other.
	plain := bytes.Repeat([]byte("bomb 1\n"), 1<<20)
	var gzipped bytes.Buffer
	gz := gzip.NewWriter(&gzipped)
	if _, err := gz.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	// A frame of zstd that needs the largest window that is taken, and blocks of
	// four bytes that each stand for 128 KiB of newlines.
	frame, block := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3}, []byte{0x02, 0x00, 0x10, '\n'}
	r.interval = time.Second
	r.env = []string{smallHost}
	r.options.Features = agent.Features{ZstdScrape: true}
	good := r.goodTargets(20)
	r.badJob("endless", "", again("", nil, plain))
	r.badJob("gzip", "", again("gzip", nil, gzipped.Bytes()))
	r.badJob("zstd", "", again("zstd", frame, bytes.Repeat(block, 1000)))
	// Much comes in, and nothing ever comes out of it.
	var empty bytes.Buffer
	if err := gzip.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	r.badJob("hollow", "", again("gzip", nil, bytes.Repeat(empty.Bytes(), 1000)))
	r.start()
	for _, name := range []string{"endless", "gzip", "zstd"} {
		r.failsWith(name, "body size limit exceeded")
	}
	r.failsWith("hollow", "context deadline exceeded")
	r.awaitMore(3, good...)
	if n := r.metric("prometheus_target_scrapes_exceeded_body_size_limit_total"); n < 3 {
		t.Errorf("%g scrapes above the limit", n)
	}
	// Without limits it is gigabytes.
	if peak := r.peak(); peak > 600<<20 {
		t.Errorf("the agent took %d MiB", peak>>20)
	}
	r.awaitAll(r.endpoint, good...)
	r.awaitLedger("one", r.endpoint)
}

// TestHugeTargetLabel: what a file says of a target goes the same way as what a
// target says of itself.
func TestHugeTargetLabel(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	good := r.goodTargets(1)
	sd := filepath.Join(r.dir, "sd.json")
	huge := `[{"targets": ["127.0.0.1:1"], "labels": {"huge": "` + strings.Repeat("x", 20<<20) + `"}}, {"targets": ["127.0.0.1:2"]}]`
	if err := os.WriteFile(sd, []byte(huge), 0o600); err != nil {
		t.Fatal(err)
	}
	r.jobs = "  - job_name: sd\n    file_sd_configs: [{files: [" + sd + "]}]\n"
	r.start()
	r.eventually("the other target to be known", func() error {
		if b, _, err := r.get("/targets"); err != nil || !strings.Contains(string(b), "127.0.0.1:2") {
			return fmt.Errorf("%.1000s, %v", b, err)
		}
		return nil
	})
	if n := r.metric("opstrace_agent_limits_dropped_targets"); n != 1 {
		t.Errorf("%g targets dropped", n)
	}
	if !strings.Contains(r.log.String(), "Targets with labels that are too long are not scraped") {
		t.Error("the log does not tell")
	}
	r.awaitMore(2, good...)
	r.awaitAll(r.endpoint, good...)
}

// TestSeriesCeiling: a target that shows series without an end fills the room that
// is left, and no more. What was there before it loses nothing.
func TestSeriesCeiling(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	r.options.Limits.MaxSeries = 1000
	good := r.goodTargets(3)
	r.start()
	r.awaitMore(2, good...)
	// Two series that stay, and 500 new ones at every scrape.
	hog := r.targets.Add("hog", agenttest.TargetOptions{Series: 1, Churn: 500})
	if err := r.reload(); err != nil {
		t.Fatal(err)
	}
	var s agent.Status
	r.eventually("new series to be dropped", func() error {
		if s = r.status(); s.Limits == nil || s.Limits.Dropped["max_series"] < 2000 {
			return fmt.Errorf("%+v", s.Limits)
		}
		return nil
	})
	reports := uint64(10 * (len(good) + 1))
	if l := s.Limits; l.MaxSeries != 1000 || l.Series < 750 || l.Series > 1000+reports {
		t.Errorf("%+v", l)
	}
	if worst := s.Limits.Worst["max_series"]; len(worst) == 0 || worst[0].Job != "fake" || worst[0].Instance != "hog" {
		t.Errorf("%+v", worst)
	}
	r.awaitMore(3, append(good, hog)...) // with what it had before
	r.awaitAll(r.endpoint, append(good, hog)...)
	if r.metric(`opstrace_agent_limits_dropped_samples_total{reason="max_series"}`) == 0 ||
		r.metric(`opstrace_agent_limits_worst_targets_dropped_samples{reason="max_series",target_instance="hog",target_job="fake"}`) == 0 {
		t.Error("the metrics do not tell")
	}
	r.eventually("the log to tell", func() error {
		if n := strings.Count(r.log.String(), "Series are dropped because of a limit"); n != 1 {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
	if strings.Contains(r.log.String(), "different value but same timestamp") {
		t.Error("the log takes dropped series for duplicates")
	}
	l := r.awaitLedger("one", r.endpoint)
	if l.Rejected["max_series"] < 2000 {
		t.Errorf("%+v", l)
	}
}

// TestSkippedScrapes: when the memory is all but used up, the largest target is not
// scraped, which is counted and told; the others lose nothing. It comes back.
func TestSkippedScrapes(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	large := r.targets.Add("large", agenttest.TargetOptions{Series: 5000})
	small := r.goodTargets(3)
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitMore(3, append(small, large)...)
	r.eventually("the large target to be left out", func() error {
		s := r.status().Limits
		if len(s.Skipped) == 0 {
			r.limitMemory(98) // of what lives at this moment, which may be much
		}
		if len(s.Skipped) != 1 || s.Skipped[0].Instance != "large" || s.Skipped[0].Samples < 5000 || s.SkippedScrapes == 0 {
			return fmt.Errorf("%+v", s)
		}
		if !strings.Contains(s.Problem(), "large (50") {
			return errors.New(s.Problem())
		}
		if m := r.metric("opstrace_agent_limits_skipped_targets"); m != 1 || r.metric("opstrace_agent_limits_skipped_scrapes_total") == 0 {
			return fmt.Errorf("%v skipped targets by metrics", m)
		}
		return nil
	})
	r.eventually("it not to be scraped any more", func() error {
		b, _, err := r.get("/targets")
		if err == nil && regexp.MustCompile("(?m)^large: ").Match(b) {
			err = fmt.Errorf("%s", b)
		}
		return err
	})
	r.eventually("ten scrapes of the others without one of it", func() error { // the last may be under way
		before := len(large.Answered())
		r.awaitMore(10, small...)
		if n := len(large.Answered()); n != before {
			return fmt.Errorf("it was scraped %d times more", n-before)
		}
		return nil
	})
	r.limitMemory(0)
	r.awaitMore(3, append(small, large)...)
	if s := r.status().Limits; len(s.Skipped) > 0 || s.Problem() != "" && len(s.Worst) == 0 {
		t.Errorf("%+v", s)
	}
	r.awaitAll(r.endpoint, append(small, large)...)
	r.awaitLedger("one", r.endpoint)
	if n := strings.Count(r.log.String(), "The largest target is not scraped"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestSkippedTargetVanishes: a skipped target that discovery does not give any more is
// not told as skipped, and no scrape of it is counted, while others stay skipped or
// memory stays short.
func TestSkippedTargetVanishes(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	small := r.goodTargets(2)
	found, err := agenttest.NewTargets("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(found.Close)
	large := found.Add("large", agenttest.TargetOptions{Series: 5000})
	sd := filepath.Join(r.dir, "sd.json")
	discover := func(list string) {
		t.Helper()
		if err := os.WriteFile(sd+".tmp", []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(sd+".tmp", sd); err != nil {
			t.Fatal(err)
		}
	}
	path := strings.TrimPrefix(found.URL(large), "http://"+found.Addr())
	discover(fmt.Sprintf(`[{"targets": [%q], "labels": {"instance": "large", "__metrics_path__": %q}}]`, found.Addr(), path))
	r.jobs = "  - job_name: sd\n    file_sd_configs: [{files: [" + sd + "], refresh_interval: 1s}]\n"
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitMore(3, append(small, large)...)
	r.eventually("the large target to be left out", func() error {
		s := r.status().Limits
		if len(s.Skipped) == 0 {
			r.limitMemory(98)
		}
		if len(s.Skipped) != 1 || s.Skipped[0].Job != "sd" || s.SkippedScrapes == 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})

	discover("[]")
	var then uint64
	r.eventually("it to be told no more", func() error {
		s := r.status().Limits
		if then = s.SkippedScrapes; len(s.Skipped) > 0 || r.metric("opstrace_agent_limits_skipped_targets") != 0 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	r.awaitMore(10, small...)
	if s := r.status().Limits; len(s.Skipped) > 0 || s.SkippedScrapes != then {
		t.Errorf("%d scrapes were skipped, then %+v", then, s)
	}
	r.limitMemory(0)
	r.awaitAll(r.endpoint, append(small, large)...)
	r.awaitLedger("one", r.endpoint)
}

// TestTooLongLabel: a series with a label that nobody takes costs itself only, not
// the scrape that shows it.
func TestTooLongLabel(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	good := r.goodTargets(1)
	body := "long{label=\"" + strings.Repeat("x", 1<<20) + "\"} 1\nshort 1\n"
	r.badJob("long", "", func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, body)
	})
	r.start()
	r.eventually("the others to be stored", func() error {
		if len(r.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, "__name__", "short"))) == 0 {
			return errors.New("none")
		}
		return nil
	})
	r.awaitAll(r.endpoint, good...)
	if l := r.awaitLedger("one", r.endpoint); l.Rejected["label_too_long"] == 0 {
		t.Errorf("%+v", l)
	}
}
