package web

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

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
	if got := h.lastHour("a"); got.In.Line != "" || got.Lost != 0 {
		t.Errorf("a curve from one look: %+v", got)
	}
	take(1_000_500, 900_100, 70, 405)
	take(1_001_000, 901_100, 73, 0)
	got := h.lastHour("a")
	if got.In.Now != 50 || got.In.Peak != 50 || got.Out.Now != 100 || got.Out.Peak != 100 || got.Backlog.Now != 0 || got.Backlog.Peak != 405 || got.Lost != 3 {
		t.Errorf("%+v", got)
	}
	take(10, 10, 0, 0) // the destination began anew
	if got := h.lastHour("a"); got.In.Now != 0 || got.Out.Now != 0 || got.Lost != 3 {
		t.Errorf("after counters began anew: %+v", got)
	}
	for i := range uint64(2 * historyLen) {
		take(10+i*100, 10+i*100, 0, i)
	}
	got = h.lastHour("a")
	if got.Lost != 0 || got.Backlog.Now != 2*historyLen-1 {
		t.Errorf("what is older than an hour is still there: %+v", got)
	}
	if n := len(strings.Fields(got.In.Line)); n != sparkWidth {
		t.Errorf("a full hour has %d points instead of %d", n, sparkWidth)
	}
	for range forgetAfter {
		h.take(at, nil)
	}
	if h.lastHour("a").In.Line == "" {
		t.Error("forgotten while the storage is opened anew")
	}
	h.take(at, nil)
	if h.lastHour("a").In.Line != "" || len(h.tracks) != 0 {
		t.Error("a destination that went is remembered")
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
	if size := int(unsafe.Sizeof(track{})) * maxTracks; size > 256<<10 {
		t.Errorf("the history takes %d bytes", size)
	}
}

func TestSparkline(t *testing.T) {
	values := func(v ...float32) (points []point) {
		for _, x := range v {
			points = append(points, point{in: x})
		}
		return points
	}
	in := func(p point) float32 { return p.in }
	for name, tc := range map[string]struct {
		points []point
		line   string
	}{
		"one point is a dash":         {values(5), "119,2.0 120,2.0"},
		"nothing but zeros":           {values(0, 0, 0, 0), "118,31.0 119,31.0"},
		"the highest of three":        {values(0, 10, 0, 5, 5, 5), "118,2.0 119,16.5"},
		"groups end at the newest":    {values(10, 5, 5, 5), "118,2.0 119,16.5"},
		"nothing is drawn of nothing": {nil, ""},
	} {
		if got := newSparkline(tc.points, in).Line; got != tc.line {
			t.Errorf("%s: %q instead of %q", name, got, tc.line)
		}
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
