package main

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

func newTestLog(format, lvl string) (*processLog, *bytes.Buffer) {
	var out bytes.Buffer
	l := newProcessLog(&out, format, lvl, false)
	l.now = func() time.Time {
		return time.Date(2024, 2, 29, 13, 0, 0, 123456789, time.FixedZone("", 3600))
	}
	return l, &out
}

// withoutLine hides the number of the line in this file, which any change moves.
func withoutLine(out *bytes.Buffer) string {
	return regexp.MustCompile(`log_test\.go:\d+`).ReplaceAllString(out.String(), "log_test.go:N")
}

func TestLogFormat(t *testing.T) {
	l, out := newTestLog("logfmt", "info")
	level.Info(log.With(l, "component", "a")).Log("msg", "b c", "err", errors.New("d"))
	if want := `ts=2024-02-29T12:00:00.123Z caller=log_test.go:N level=info component=a msg="b c" err=d` + "\n"; withoutLine(out) != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
	out.Reset()
	l.Log("msg", "without a level")
	if want := `ts=2024-02-29T12:00:00.123Z caller=log_test.go:N level=info msg="without a level"` + "\n"; withoutLine(out) != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}

	l, out = newTestLog("json", "info")
	level.Warn(l).Log("msg", "b", "err", errors.New("d"))
	if want := `{"caller":"log_test.go:N","err":"d","level":"warn","msg":"b","ts":"2024-02-29T12:00:00.123Z"}` + "\n"; withoutLine(out) != want {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
}

// What comes by slog looks the same and obeys the same level.
func TestLogFromSlog(t *testing.T) {
	l, out := newTestLog("logfmt", "info")
	logger := l.slog().With("component", "scrape")
	before := time.Now().UTC().Format(timeFormat)
	logger.Warn("b c")
	ts, rest, _ := strings.Cut(withoutLine(out), " ")
	if want := `caller=log_test.go:N level=warn msg="b c" component=scrape` + "\n"; rest != want {
		t.Errorf("\n got %s\nwant %s", rest, want)
	}
	if ts = strings.TrimPrefix(ts, "ts="); ts < before || ts > time.Now().UTC().Format(timeFormat) {
		t.Errorf("time %s, and it is %s", ts, before)
	}
	out.Reset()
	logger.Debug("quiet")
	if out.Len() > 0 {
		t.Errorf("debug at level info: %s", out)
	}
	l.setLevel("debug")
	logger.Debug("loud", "caller", "x.go:1", "time", "noon")
	if want := ` caller=x.go:1 level=debug msg=loud component=scrape time=noon` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("\n got %s\nwant %s", out, want)
	}
}

func TestLogLevels(t *testing.T) {
	for i, lvl := range logLevels {
		l, out := newTestLog("logfmt", lvl)
		level.Debug(l).Log("msg", "a")
		level.Info(l).Log("msg", "a")
		level.Warn(l).Log("msg", "a")
		level.Error(l).Log("msg", "a")
		if got, want := bytes.Count(out.Bytes(), []byte("\n")), len(logLevels)-i; got != want {
			t.Errorf("level %s: %d lines instead of %d", lvl, got, want)
		}
	}
}

// The journal has the time itself and wants the priority in front.
func TestLogToJournal(t *testing.T) {
	for format, want := range map[string]string{
		"logfmt": "<4>caller=log_test.go:N level=warn msg=b\n<6>caller=log_test.go:N level=info msg=c\n",
		"json":   `<4>{"caller":"log_test.go:N","level":"warn","msg":"b"}` + "\n" + `<6>{"caller":"log_test.go:N","level":"info","msg":"c"}` + "\n",
	} {
		var out bytes.Buffer
		l := newProcessLog(&out, format, "info", true)
		level.Warn(l).Log("msg", "b")
		level.Debug(l).Log("msg", "hidden")
		l.Log("msg", "c")
		if got := withoutLine(&out); got != want {
			t.Errorf("%s:\n got %s\nwant %s", format, got, want)
		}
	}
}
