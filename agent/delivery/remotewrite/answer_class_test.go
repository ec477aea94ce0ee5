package remotewrite

import (
	"testing"
	"time"
)

func TestClassOf(t *testing.T) {
	t.Parallel()
	for want, all := range map[Class][]int{
		Unanswered:   {0},
		Acknowledged: {200, 202, 204},
		Passing:      {429, 500, 501, 502, 503, 504, 511, 599},
		Held:         {100, 301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 408, 409, 410, 415, 418, 425, 451, 499, 600},
		TooLarge:     {413},
		Final:        {400, 422},
	} {
		for _, status := range all {
			if got := ClassOf(status); got != want {
				t.Errorf("%d is %s, not %s", status, got, want)
			}
		}
	}
	if got := Final.String() + ", " + TooLarge.String() + ", " + Class(9).String(); got != "final, too large, Class(9)" {
		t.Error(got)
	}
}

// TestClassOfNotHeld: an endpoint whose refusals are not waited for is still waited for
// where the specification says so, and where something may have been stored.
func TestClassOfNotHeld(t *testing.T) {
	t.Parallel()
	for want, all := range map[Class][]Refusal{
		NotHeld:    {{Status: 401}, {Status: 403}, {Status: 404, Body: "<html>", Type: "text/html"}, {Status: 408}, {Status: 409}, {Status: 415}, {Status: 499}},
		Held:       {{Status: 409, Body: "500-to-409: x"}, {Status: 307}, {Status: 100}, {Status: 600}, {Status: 400, Body: "<html>", Type: "text/html"}},
		Passing:    {{Status: 429}, {Status: 503}},
		TooLarge:   {{Status: 413}},
		Final:      {{Status: 400, Body: "out of order"}},
		Unanswered: {{}},
	} {
		for _, r := range all {
			r.GiveUp = true
			if got := r.Class(); got != want {
				t.Errorf("%+v is %s, not %s", r, got, want)
			}
		}
	}
	if r := (&Refusal{Status: 404}); r.Class() != Held {
		t.Errorf("without it: %s", r.Class())
	}
}

func TestKind(t *testing.T) {
	t.Parallel()
	if Kind(0) != "no answer" || Kind(503) != "HTTP 503" {
		t.Error(Kind(0), Kind(503))
	}
}

func TestMayHaveStored(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		words  string
		want   bool
	}{
		{0, `Post "https://x/": context deadline exceeded`, true},
		{0, `Post "https://x/": read tcp 127.0.0.1:1->127.0.0.1:2: connection reset by peer`, true},
		{0, `Post "https://x/": dial tcp: lookup x: no such host`, false},
		{0, `Post "https://x/": dial tcp 127.0.0.1:1: connect: connection refused`, false},
		{0, `Post "https://x/": unable to read authorization credentials: unable to read file /t: open /t: no such file or directory`, false},
		{0, `Post "https://x/": tls: failed to verify certificate: x509: certificate signed by unknown authority`, false},
		{500, "", true}, {503, "", true}, {504, "", true},
		{503, "server returned HTTP status 503 Service Unavailable: 429-to-503: ingestion rate limit", false},
		{409, "server returned HTTP status 409 Conflict: 500-to-409: empty ring", true},
		{409, "server returned HTTP status 409 Conflict: words", false},
		{400, "", false}, {401, "", false}, {413, "", false}, {429, "", false}, {308, "", false},
	} {
		if got := MayHaveStored(c.status, c.words); got != c.want {
			t.Errorf("%d %s: %t", c.status, c.words, got)
		}
	}
}

// TestWords: sentences of Cortex, Mimir, Thanos and Prometheus.
func TestWords(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]struct {
		there, out bool
		reason     string
	}{
		"user=default: err: out of order sample. timestamp=2026-01-01T00:00:00Z, series={__name__=\"up\"}": {true, false, "out_of_order"},
		"out of order sample":              {true, false, "out_of_order"},
		"duplicate sample for timestamp":   {true, false, "out_of_order"},
		"Duplicate sample for timestamp 1": {true, false, "out_of_order"},
		"(err-mimir-sample-out-of-order)":  {true, false, "out_of_order"},
		"the sample has been rejected because another sample with the same timestamp, but a different value, has already been ingested (err-mimir-sample-duplicate-timestamp)": {true, false, "out_of_order"},
		"store 1 samples: out of bounds":                  {false, true, "out_of_bounds"},
		"too old sample":                                  {false, true, "out_of_bounds"},
		"timestamp too new: 1":                            {false, true, "out_of_bounds"},
		"the sample's timestamp is too far in the future": {false, true, "out_of_bounds"},
		"label value too long":                            {false, false, "http_400"},
		"":                                                {false, false, "http_400"},
	} {
		if AlreadyThere(words) != want.there || OutOfWindow(words) != want.out || Reason(400, words) != want.reason {
			t.Errorf("%q: already there %t, out of the window %t, %s", words, AlreadyThere(words), OutOfWindow(words), Reason(400, words))
		}
	}
}

// TestAboutSeries: what an endpoint says of a series, and not of one sample.
func TestAboutSeries(t *testing.T) {
	t.Parallel()
	for words, want := range map[string]bool{
		"sample missing metric name":                                                    true,
		`sample invalid metric name: "a b"`:                                             true,
		"series has too many labels (actual: 31, limit: 30) series: 'm{a=\"b\"}'":       true,
		`sample invalid label: "a b" metric "m"`:                                        true,
		`label name too long: "xx" metric "m"`:                                          true,
		`label value too long for metric: "m" label value: "xx"`:                        true,
		`duplicate label name: "a" metric "m"`:                                          true,
		`labels not sorted: "a" metric "m"`:                                             true,
		"user=1: per-user series limit of 10 exceeded, please contact administrator":    true,
		"per-metric series limit of 10 exceeded, please contact administrator":          true,
		"received a series whose label value length exceeds the limit, value: 'x'":      true,
		"received a series whose number of labels exceeds the limit (actual: 31)":       true,
		"received a series with an invalid metric name: 'a b'":                          true,
		`invalid metric name or labels, got {a="b"}`:                                    true,
		`user=1: err: out of order sample. series={x="series limit"}`:                   false,
		`timestamp too new: 1 metric: "metric name"`:                                    false,
		"TimeSeries must contain at least one sample or histogram for series {a=\"b\"}": false,
		"invalid native histogram: schema 9":                                            false,
		"no":                                                                            false,
		"":                                                                              false,
	} {
		if got := AboutSeries(words); got != want {
			t.Errorf("%q: %t", words, got)
		}
	}
}

// TestPauses: what passes by itself is asked again soon, what somebody has to mend
// seldom, and an endpoint that has had too much at once not at once.
func TestPauses(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for bounds, refusals := range map[[2]time.Duration][]Refusal{
		{30 * ms, 5000 * ms}:  {{}, {Status: 500}, {Status: 511}, {Status: 409, Body: "500-to-409: empty ring"}},
		{500 * ms, 5000 * ms}: {{Status: 429}, {Status: 503}},
		{30 * ms, 30_000 * ms}: {
			{Status: 401}, {Status: 403}, {Status: 404}, {Status: 409}, {Status: 307}, {Status: 413},
			{Status: 200, Body: "<html>", Type: "text/html"},
		},
	} {
		for _, r := range refusals {
			if from, to := r.Pauses(30*ms, 5000*ms); from != bounds[0] || to != bounds[1] {
				t.Errorf("%+v: %s to %s", r, from, to)
			}
		}
	}
	if from, _ := (&Refusal{Status: 429}).Pauses(time.Second, 5*time.Second); from != time.Second {
		t.Errorf("with a min_backoff of 1 s, it begins with %s", from)
	}
}

// TestBackoff: pauses grow and are jittered, are never zero, never too short
// for an endpoint that names one, and the arithmetic holds for any settings.
func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt, full := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		full *= time.Millisecond
		for range 50 {
			if got := Backoff(attempt, 100*time.Millisecond, time.Second, 0); got < full/2 || got > full*3/2 {
				t.Errorf("attempt %d: %s, expected about %s", attempt, got, full)
			}
		}
	}
	for attempt, want := range []bool{false, false, false, false, true, true} {
		if got := Grown(attempt, 100*time.Millisecond, time.Second); got != want {
			t.Errorf("attempt %d has grown: %t", attempt, got)
		}
	}
	if got := Backoff(0, 100*time.Millisecond, time.Second, time.Minute); got < time.Minute || got > 90*time.Second {
		t.Errorf("a minute was asked for, and it is %s", got)
	}
	for _, d := range []time.Duration{0, 365 * 24 * time.Hour} {
		for _, attempt := range []int{0, 1, 50, 1 << 40} {
			if got := Backoff(attempt, d, d, 0); got < shortestBackoff/2 {
				t.Errorf("%s: attempt %d comes after %s", d, attempt, got)
			}
		}
	}
}
