package seldom

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestSeldom(t *testing.T) {
	var out strings.Builder
	next := slog.NewTextHandler(&out, nil)
	log := slog.New(New(next, "again", "and again"))
	lines := func(want int, what string) {
		t.Helper()
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d\n%s", what, got, want, out.String())
		}
		out.Reset()
	}
	one, two := log.With("target", "one"), log.With("target", "two")
	for range 100 {
		one.Warn("again")
		two.Warn("again")
		two.WithGroup("g").Warn("something else")
		one.Warn("and again")
	}
	lines(103, "two targets, two messages, and others")

	debug := slog.New(New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}), "again"))
	debug.Warn("again")
	debug.Warn("again")
	lines(2, "with debug messages")
}

func TestHandlerTellsHowOften(t *testing.T) {
	var out strings.Builder
	h := New(slog.NewTextHandler(&out, nil), "again")
	begin := time.Unix(1, 0)
	for i := range 21 {
		if err := h.Handle(t.Context(), slog.NewRecord(begin.Add(time.Duration(i)*15*time.Second), slog.LevelWarn, "again", 0)); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.Count(got, "lines_not_logged=19\n") != 1 {
		t.Error(got)
	}
}

// TestEpisode: at every scrape for two days, 15 s apart; then after an hour.
func TestEpisode(t *testing.T) {
	var (
		e    episode
		said []time.Duration
		now  = time.Unix(1, 0)
		sum  int
	)
	for i := range 2 * 24 * 60 * 4 {
		at := time.Duration(i) * 15 * time.Second
		if say, silent := e.happened(now.Add(at)); say {
			said, sum = append(said, at), sum+silent+1
		}
	}
	if len(said) != 14 || said[1] != 5*time.Minute || said[2] != 15*time.Minute || said[13]-said[12] != longestPause {
		t.Error(said)
	}
	if want := int(said[13]/(15*time.Second)) + 1; sum != want {
		t.Errorf("%d were told of, want %d", sum, want)
	}
	if say, silent := e.happened(e.last.Add(over)); !say || silent != 0 {
		t.Error("what is new was not said", say, silent)
	}
}
