package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// oddTarget is the one that gives trouble. Those beside it must not be touched by it.
const oddTarget = "odd"

// ofTarget: a scrape that is not answered as usual is nobody's to deliver; all others are.
var ofTarget = []manner{
	badAnswer("vanish", told, nil, http.NotFound),
	{
		kind: "explode", weight: 2, lasts: seconds(1, 8), heavy: true,
		begin: func(w *world, _ event) error { w.oddSeries(2000); return nil },
		end:   func(w *world, _ event) error { w.oddSeries(oddSeries); return nil },
	},
	{
		// More than the memory is for (sizing.md): the excess is dropped, and counted.
		kind: "flood", weight: 1, lasts: seconds(2, 5), heavy: true, costs: []string{rejected, evicted},
		begin: func(w *world, _ event) error { w.oddSeries(45_000); return nil },
		end:   func(w *world, _ event) error { w.oddSeries(oddSeries); return nil },
	},
	{
		kind: "shrink", weight: 2, lasts: seconds(1, 15), harmless: true,
		begin: func(w *world, _ event) error { w.oddSeries(0); return nil },
		end:   func(w *world, _ event) error { w.oddSeries(oddSeries); return nil },
	},
	{
		// Not drawn: the verdict takes how old a sample is for how long it waits.
		kind: "backdate", weight: 0, lasts: seconds(60, 90), harmless: true,
		begin: func(w *world, _ event) error {
			w.odd.Update(func(o *agenttest.TargetOptions) { o.Explicit = []time.Duration{-10 * time.Minute} })
			return nil
		},
		end: func(w *world, _ event) error {
			w.odd.Update(func(o *agenttest.TargetOptions) { o.Explicit = nil })
			return nil
		},
	},
	badAnswer("hang-target", told, nil, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	badAnswer("wrong-length", told, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("odd_short 1\n"))
		panic(http.ErrAbortHandler)
	}),
	badAnswer("not-text", told, nil, text("odd_latin{a=\"\xe4\xf6\xfc\"} 1\n")),
	badAnswer("html-target", told, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html><body>Please log in</body></html>"))
	}),
	badAnswer("twice", 0, []string{rejected}, text("odd_twice 1\nodd_twice 2\n")),
	badAnswer("long-label", 0, []string{rejected}, text("odd_long{a=\""+strings.Repeat("x", 20<<10)+"\"} 1\n")),
	badAnswer("old", 0, []string{rejected, refused, uncertain}, text("odd_old 1 1000\nodd_ahead 1 4000000000000\n")),
	badAnswer("retype", 0, nil, func(w http.ResponseWriter, r *http.Request) {
		text(fmt.Sprintf("# TYPE odd_type %s\nodd_type 1\n", []string{"counter", "gauge"}[len(r.RemoteAddr)%2]))(w, r)
	}),
	badAnswer("endless", told, nil, func(w http.ResponseWriter, _ *http.Request) {
		line := bytes.Repeat([]byte("# HELP odd "+strings.Repeat("x", 1000)+"\n"), 1000)
		for {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}),
}

// badAnswer is a row for an answer that takes the place of the usual one.
func badAnswer(kind string, noticed time.Duration, costs []string, answer http.HandlerFunc) manner {
	return manner{
		kind: kind, weight: 1, lasts: seconds(1, 15), noticed: noticed, costs: costs, heavy: kind == "endless",
		begin: func(w *world, _ event) error {
			w.odd.Update(func(o *agenttest.TargetOptions) {
				o.Answer = func(rw http.ResponseWriter, r *http.Request, _ int64) bool {
					answer(rw, r)
					return true
				}
			})
			return nil
		},
		end: func(w *world, _ event) error {
			w.odd.Update(func(o *agenttest.TargetOptions) { o.Answer = nil })
			return nil
		},
	}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte(body))
	}
}

func (w *world) oddSeries(n int) {
	w.odd.Update(func(o *agenttest.TargetOptions) { o.Series = n })
}
