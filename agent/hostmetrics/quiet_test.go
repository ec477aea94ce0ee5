package hostmetrics

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestQuiet: a collector that fails at every scrape is told of once, and so is another one.
func TestQuiet(t *testing.T) {
	var log bytes.Buffer
	l := slog.New(newQuiet(slog.NewTextHandler(&log, nil)))
	for range 3 {
		l.Error("collector failed", "name", "a")
		l.Error("collector failed", "name", "b")
		l.Error("another", "name", "a")
	}
	if s := log.String(); strings.Count(s, "name=a") != 4 || strings.Count(s, "name=b") != 1 {
		t.Error(s)
	}
}
