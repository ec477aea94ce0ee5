package main

import (
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	sloggokit "github.com/tjhop/slog-gokit"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// Names of --log.level and --log.format, as in Prometheus.
var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	logFormats = []string{"logfmt", "json"}
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// processLog writes the log of the process. Its level can change while it
// runs. What comes from upstream's slog through slog-gokit brings a time and a
// caller of its own: those replace the ones found here, so that a line looks
// the same wherever it comes from. It hides what is secret in URLs: the errors
// of every HTTP client begin with one.
type processLog struct {
	out     []log.Logger // by index into logLevels
	journal bool         // the reader is systemd's journal
	level   atomic.Int32 // index into logLevels
	now     func() time.Time
}

// priorities are the journal's, by index into logLevels: debug, info, warning,
// error.
var priorities = []string{"<7>", "<6>", "<4>", "<3>"}

// newProcessLog writes to w. The journal knows the time of a line, and takes
// its priority from a prefix: without one, "journalctl -p err" finds nothing.
func newProcessLog(w io.Writer, format, lvl string, journal bool) *processLog {
	w = log.NewSyncWriter(w)
	l := &processLog{journal: journal, now: time.Now}
	for i := range logLevels {
		out := w
		if journal {
			out = &prefixWriter{w, priorities[i]}
		}
		logger := log.NewLogfmtLogger(out)
		if format == "json" {
			logger = log.NewJSONLogger(out)
		}
		l.out = append(l.out, redact.Logger(logger))
	}
	l.setLevel(lvl)
	return l
}

// prefixWriter puts a prefix before every write, which is a line each.
type prefixWriter struct {
	w      io.Writer
	prefix string
}

func (p *prefixWriter) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// setLevel takes a name from logLevels; others are ignored, because both the
// flag and the configuration file have been checked before.
func (l *processLog) setLevel(name string) {
	if i := slices.Index(logLevels, name); i >= 0 {
		l.level.Store(int32(i))
	}
}

// slog returns the same log for code that speaks slog.
func (l *processLog) slog() *slog.Logger {
	return slog.New(sloggokit.NewGoKitHandler(l, l))
}

// Level makes it a slog.Leveler: code that speaks slog need not format what
// would not be written.
func (l *processLog) Level() slog.Level {
	return slog.LevelDebug + slog.Level(l.level.Load())*(slog.LevelInfo-slog.LevelDebug)
}

func (l *processLog) Log(keyvals ...any) error {
	var ts, caller, lvl any
	rest := make([]any, 6, len(keyvals)+6)
	for i := 0; i+1 < len(keyvals); i += 2 {
		k, v := keyvals[i], keyvals[i+1]
		switch v := v.(type) {
		case level.Value:
			if int32(slices.Index(logLevels, v.String())) < l.level.Load() {
				return nil
			}
			lvl = v
			continue
		case time.Time:
			if k == slog.TimeKey {
				ts = v
				continue
			}
		}
		if k == "caller" {
			caller = v
			continue
		}
		rest = append(rest, k, v)
	}
	if ts == nil {
		ts = l.now()
	}
	if caller == nil {
		caller = findCaller()
	}
	if lvl == nil {
		lvl = level.InfoValue()
	}
	copy(rest, []any{"ts", ts.(time.Time).UTC().Format(timeFormat), "caller", caller, "level", lvl})
	if l.journal {
		rest = rest[2:]
	}
	return l.out[slices.Index(logLevels, lvl.(level.Value).String())].Log(rest...)
}

// findCaller names the first function outside of the loggers. Counting frames
// would name the wrong one as soon as somebody wraps a logger once more.
func findCaller() string {
	var pcs [16]uintptr
	n := runtime.Callers(3, pcs[:]) // without Callers, findCaller and Log
	frames := runtime.CallersFrames(pcs[:n])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "github.com/go-kit/log") {
			return filepath.Base(f.File) + ":" + strconv.Itoa(f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
