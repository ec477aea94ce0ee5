package web

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

func TestHistory(t *testing.T) {
	h := newHistory()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	take := func(appended, delivered, refused, backlog uint64) {
		at = at.Add(sampleInterval)
		h.take(at, []delivery.Status{{Name: "a", BacklogSamples: backlog, Ledger: ledger.Terms{
			Appended: appended, Delivered: delivered, Refused: map[string]uint64{"out of order": refused},
		}}})
	}
	take(1_000_000, 900_000, 70, 5) // before the page existed: no rate can be told
	if got := h.lastHour(at, "a", 0); got.In.Line != "" || got.Lost != 0 {
		t.Errorf("a curve from one look: %+v", got)
	}
	take(1_000_500, 900_100, 70, 405)
	take(1_001_000, 901_100, 73, 0)
	got := h.lastHour(at, "a", 0)
	if got.In.Now != 50 || got.In.Peak != 50 || got.Out.Now != 55 || got.Out.Peak != 100 || got.Backlog.Now != 0 || got.Backlog.Peak != 405 || got.Lost != 3 {
		t.Errorf("%+v", got)
	}
	take(10, 10, 0, 0) // the destination began anew
	if got := h.lastHour(at, "a", 0); got.In.Now < 33 || got.In.Now > 34 || got.Lost != 3 {
		t.Errorf("after counters began anew: %+v", got)
	}
	for i := range uint64(2 * historyLen) {
		take(10+i*100, 10+i*100, 0, i)
	}
	got = h.lastHour(at, "a", 2*historyLen-1)
	if got.Lost != 0 || got.Backlog.Now != 2*historyLen-1 {
		t.Errorf("what is older than an hour is still there: %+v", got)
	}
	if now := h.lastHour(at.Add(time.Second), "a", 5000); now.Backlog.Now != 5000 || now.Backlog.Peak != 5000 {
		t.Errorf("the most that waited is less than what waits now: %+v", now.Backlog)
	}
	if n := len(strings.Fields(got.Backlog.Line)); n != sparkWidth {
		t.Errorf("a full hour's backlog has %d points instead of %d", n, sparkWidth)
	}
	if n := len(strings.Fields(got.In.Line)); n != sparkWidth {
		t.Errorf("a full hour has %d points instead of %d", n, sparkWidth)
	}
	if want := at.Add(-(historyLen - 1) * sampleInterval); !got.Since.Equal(want) {
		t.Errorf("the hour begins at %s instead of %s", got.Since, want)
	}
	h.take(at.Add(forgetAfter), nil)
	if h.lastHour(at, "a", 0).In.Line == "" {
		t.Error("forgotten while the storage is opened anew")
	}
	h.take(at.Add(forgetAfter+time.Second), nil)
	if h.lastHour(at, "a", 0).In.Line != "" || len(h.tracks) != 0 {
		t.Error("a destination that went is remembered")
	}
}

// A new agent is looked at more often until there is something to show, and what is
// shown by then gives way to whole intervals.
func TestHistoryAtTheBeginning(t *testing.T) {
	h := newHistory()
	at := time.Unix(1_700_000_000, 0)
	look := func(after time.Duration, appended uint64) (soon bool, shown lastHour) {
		at = at.Add(after)
		soon = h.take(at, []delivery.Status{{Name: "a", Ledger: ledger.Terms{Appended: appended}}})
		return soon, h.lastHour(at, "a", 0)
	}
	if !h.take(at, nil) {
		t.Error("no destination: a long wait for the first")
	}
	if soon, shown := look(0, 100); !soon || shown.In.Line != "" {
		t.Errorf("first look: %v %+v", soon, shown)
	}
	if soon, shown := look(firstInterval, 300); !soon || shown.In.Now != 100 || shown.In.Line != "0.0,2.0 120.0,2.0" || !shown.Since.IsZero() {
		t.Errorf("second look: %v %+v", soon, shown)
	}
	if soon, shown := look(firstInterval, 300); !soon || shown.In.Now != 50 {
		t.Errorf("third look: %v %+v", soon, shown)
	}
	look(firstInterval, 300)
	look(firstInterval, 300)
	// A timer may be early.
	if soon, shown := look(firstInterval-time.Millisecond, 1100); soon || shown.In.Now < 99 || shown.In.Now > 101 {
		t.Errorf("a whole interval: %v %+v", soon, shown)
	}
	if soon, shown := look(firstInterval, 1100); soon || shown.In.Now < 99 || !shown.Since.IsZero() {
		t.Errorf("a part of an interval counts behind a whole one: %v %+v", soon, shown)
	}
	if soon, shown := look(sampleInterval-firstInterval, 1100); soon || shown.In.Now < 49 || shown.In.Now > 51 || shown.Since.IsZero() {
		t.Errorf("two intervals: %v %+v", soon, shown)
	}
	// Targets that are scraped once a minute: the rate is that of a minute.
	for i := range uint64(12) {
		look(sampleInterval, 1100+(i/6+1)*600)
	}
	if _, shown := look(sampleInterval, 1100+3*600); shown.In.Now < 9.9 || shown.In.Now > 10.1 || shown.In.Peak < 59 {
		t.Errorf("scraped once a minute: %+v", shown.In)
	}
}

func TestGrowth(t *testing.T) {
	var g growth
	at := time.Unix(1_700_000_000, 0)
	look := func(after time.Duration, bytes int64) (string, bool) {
		at = at.Add(after)
		g.look(at, bytes)
		rate, known := g.perSecond()
		return fmt.Sprintf("%.0f", rate), known
	}
	bytes := int64(5000)
	look(0, bytes)
	for range growthSkip { // names of series
		bytes += 1 << 20
		look(sampleInterval, bytes)
	}
	for i := range growthAtLeast {
		if rate, known := look(sampleInterval/2, bytes); known {
			t.Errorf("known after %d intervals: %s", i, rate)
		}
		bytes += 1000
		look(sampleInterval/2, bytes)
	}
	if rate, known := look(0, bytes); !known || rate != "100" {
		t.Errorf("%s, %v instead of 100", rate, known)
	}
	bytes -= 3000 // a segment was deleted
	look(sampleInterval, bytes)
	bytes += 1 << 30
	look(time.Hour, bytes) // the host slept
	if rate, _ := look(0, bytes); rate != "100" {
		t.Errorf("%s instead of 100", rate)
	}
	for range growthLen {
		look(sampleInterval, bytes)
	}
	if rate, known := look(0, bytes); !known || rate != "0" {
		t.Errorf("what is older than ten minutes counts: %s", rate)
	}
}

func TestBridges(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		st    agent.StorageStatus
		rate  float64
		known bool
		want  string
	}{
		"too early":                 {agent.StorageStatus{MaxBytes: mib}, 0, false, "not known yet"},
		"nothing is written":        {agent.StorageStatus{MaxBytes: mib}, 0, true, "any, as nothing is being written"},
		"the budget":                {agent.StorageStatus{Bytes: 50 * mib, MaxBytes: 100 * mib, FreeBytes: 1000 * mib}, mib / 60.0, true, "about 1 h 40 min"},
		"the disk is the narrower":  {agent.StorageStatus{Bytes: 50 * mib, MaxBytes: 100 * mib, FreeBytes: 20 * mib, MinFreeBytes: 10 * mib}, mib / 60.0, true, "about 1 h"},
		"less is free than is left": {agent.StorageStatus{Bytes: 60 * mib, MaxBytes: 100 * mib, FreeBytes: 5 * mib, MinFreeBytes: 10 * mib}, mib / 60.0, true, "about 1 h"},
		"hardly anything":           {agent.StorageStatus{Bytes: mib, MaxBytes: 100 * mib, FreeBytes: 1000 * mib}, 0.1, true, "more than a year"},
		"without a budget":          {agent.StorageStatus{FreeBytes: 60 * mib}, mib / 60.0, true, "about 1 h"},
	} {
		if got := bridges(tc.st, tc.rate, tc.known); got != tc.want {
			t.Errorf("%s: %q instead of %q", name, got, tc.want)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := newHistory()
	var many []delivery.Status
	for i := range 10 * maxTracks {
		many = append(many, delivery.Status{Name: fmt.Sprint(i)})
	}
	for i := range 3 {
		h.take(time.Unix(int64(10*i), 0), many)
	}
	if len(h.tracks) != maxTracks {
		t.Errorf("%d tracks instead of %d", len(h.tracks), maxTracks)
	}
	if size := int(unsafe.Sizeof(track{})) * maxTracks; size > 384<<10 {
		t.Errorf("the history takes %d bytes", size)
	}
}

func TestSparkline(t *testing.T) {
	values := func(v ...float32) (points []point) {
		for i, x := range v {
			points = append(points, point{at: int64(i) * 1000, in: x})
		}
		return points
	}
	in := func(p point) float32 { return p.in }
	pause := values(5, 10, 5)
	pause[2].at = 10_000
	for name, tc := range map[string]struct {
		points []point
		line   string
	}{
		"one point is a line":         {values(5), "0.0,2.0 120.0,2.0"},
		"nothing but zeros":           {values(0, 0, 0), "0.0,31.0 60.0,31.0 120.0,31.0"},
		"what there is fills the box": {values(10, 5, 0), "0.0,2.0 60.0,16.5 120.0,31.0"},
		"by their time":               {pause, "0.0,16.5 12.0,2.0 120.0,16.5"},
		"nothing is drawn of nothing": {nil, ""},
	} {
		if got := newSparkline(tc.points, 0, in).Line; got != tc.line {
			t.Errorf("%s: %q instead of %q", name, got, tc.line)
		}
	}
	many := make([]float32, 2*sparkWidth-1)
	many[1] = 10 // the higher one of its group
	places := strings.Fields(newSparkline(values(many...), 0, in).Line)
	if len(places) != sparkWidth || places[0] != "0.0,31.0" || !strings.HasSuffix(places[1], ",2.0") || places[len(places)-1] != "120.0,31.0" {
		t.Errorf("%d places: %s", len(places), places)
	}
}

func TestFormats(t *testing.T) {
	for got, want := range map[string]string{
		formatBytes(0):                               "0 B",
		formatBytes(1023):                            "1023 B",
		formatBytes(3<<20 + 100<<10):                 "3.1 MiB",
		formatBytes(512 << 20):                       "512 MiB",
		formatCount(9999):                            "9,999",
		formatCount(12_345):                          "12.3 k",
		formatCount(999_700):                         "1 M",
		formatCount(uint64(4_512_345)):               "4.51 M",
		formatCount(uint64(7_000_000_000_000)):       "7 T",
		formatRate(0):                                "0/s",
		formatRate(2.345):                            "2.35/s",
		formatRate(1234.4):                           "1,234/s",
		formatDuration(-time.Second):                 "0 s",
		formatDuration(40 * time.Second):             "40 s",
		formatDuration(72 * time.Second):             "1 min 12 s",
		formatDuration(20*time.Minute + time.Second): "20 min",
		formatDuration(185 * time.Minute):            "3 h 5 min",
		formatDuration(52 * time.Hour):               "2 d 4 h",
		formatMillis(12345 * time.Microsecond):       "12.3 ms",
		formatMillis(2500 * time.Millisecond):        "2.5 s",
		ago(time.Unix(100, 0), time.Unix(88, 0)):     "12 s ago",
		ago(time.Unix(100, 0), time.Time{}):          "never",
	} {
		if got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
}
