package upstreamqueue

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestBegunAgain: what a watcher sets its gauge to between two looks, and
// whether it has begun again.
func TestBegunAgain(t *testing.T) {
	for _, tc := range []struct {
		name string
		sets [][]float64 // between two looks
		want bool
	}{
		{"not begun", [][]float64{{}, {}}, false},
		{"the first segment", [][]float64{{0}, {0}, {1}}, false},
		{"looked at twice", [][]float64{{1}, {}, {}}, false},
		{"next segments", [][]float64{{1}, {2}, {}, {3, 4}, {}}, false},
		{"the same", [][]float64{{1}, {2}, {2}}, true},
		{"the same before a look", [][]float64{{2, 2}}, false}, // the log tells
		{"back", [][]float64{{1}, {2}, {1}}, true},
		{"back and forth", [][]float64{{3}, {1, 2, 3}}, true},
		{"stays", [][]float64{{2}, {1}, {}, {3}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := &watcher{segments: prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "-"}), said: new(said), reached: -1}
			var got bool
			for _, sets := range tc.sets {
				for _, v := range sets {
					w.segments.Set(v)
				}
				got = w.begunAgain()
			}
			if got != tc.want {
				t.Errorf("begun again: %v", got)
			}
			last := 0.0
			for _, sets := range tc.sets {
				for _, v := range sets {
					last = v
				}
			}
			if s := w.segment(); last > 0 && s != int(last) || last == 0 && s != -1 {
				t.Errorf("in segment %d, and %v was set last", s, last)
			}
		})
	}
}

// setting is a gauge that its owner sets to the next segment while it is marked.
type setting struct {
	prometheus.Gauge

	next float64
}

func (s *setting) Add(v float64) {
	if s.next > 0 {
		s.Set(s.next)
		s.next = 0
	}
	s.Gauge.Add(v)
}

// TestEnteredMeanwhile: a segment that is entered while the gauge is looked at
// is not forgotten.
func TestEnteredMeanwhile(t *testing.T) {
	g := &setting{Gauge: prometheus.NewGauge(prometheus.GaugeOpts{Name: "a", Help: "-"}), next: 6}
	w := &watcher{segments: g, said: new(said), reached: -1}
	g.Set(5)
	if w.begunAgain() || w.segment() != 6 {
		t.Errorf("in segment %d, begun again: %v", w.segment(), w.again)
	}
	g.Set(6)
	if !w.begunAgain() {
		t.Error("a segment that was entered again passed for new")
	}
}

// TestListener: the failure is noted whatever level is logged, and the log stays
// as it is.
func TestListener(t *testing.T) {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelError, slog.LevelError + 1} {
		var (
			out   strings.Builder
			heard said
		)
		handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})
		log := slog.New(listener{handler, &heard}).WithGroup("group").With("queue", "one")
		log.Info("Something")
		if heard.failed.Load() {
			t.Error("a failure was noted")
		}
		log.Error(tailingFailed)
		if !heard.failed.Load() {
			t.Errorf("no failure was noted at level %s", level)
		}
		want := map[slog.Level]int{slog.LevelDebug: 2, slog.LevelError: 1}[level]
		if n := strings.Count(out.String(), "group.queue=one"); n != want {
			t.Errorf("at level %s the log has %d lines, want %d", level, n, want)
		}
		if got, want := log.Enabled(t.Context(), slog.LevelDebug), level == slog.LevelDebug; got != want {
			t.Errorf("at level %s debug is enabled: %v", level, got)
		}
	}
}

// TestListenerIsNoFlood: what is said of each request is said once for a while, by each
// queue.
func TestListenerIsNoFlood(t *testing.T) {
	var out strings.Builder
	log := slog.New(newListener(slog.NewTextHandler(&out, nil), new(said)))
	one, two := log.With("queue", "one"), log.With("queue", "two")
	for range 3 {
		for _, words := range []string{"non-recoverable error", "Failed to send batch, retrying"} {
			one.Error(words)
			two.Error(words)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines, want 4:\n%s", n, out.String())
	}
}

func TestBounds(t *testing.T) {
	at := time.UnixMilli(1000)
	for _, tc := range []struct {
		name         string
		wall, real   time.Duration
		lower, upper int64
		set          bool
	}{
		{"at once", 0, 0, 1000, 1000, false},
		{"within a millisecond", 900 * time.Microsecond, 900 * time.Microsecond, 1000, 1000, false},
		{"longer", 5 * time.Millisecond, 5 * time.Millisecond, 1000, 1005, false},
		{"slewed", 5 * time.Millisecond, 5*time.Millisecond + time.Microsecond, 999, 1005, false},
		{"slewed back", 5*time.Millisecond - time.Microsecond, 5 * time.Millisecond, 999, 1005, false},
		{"set forward", time.Hour, time.Millisecond, 0, 0, true},
		{"set back", -time.Hour, time.Millisecond, 0, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			lower, upper, err := bounds(at, at.Add(tc.wall), tc.real)
			if lower != tc.lower || upper != tc.upper || (err != nil) != tc.set {
				t.Errorf("got %d, %d, %v", lower, upper, err)
			}
		})
	}
}
