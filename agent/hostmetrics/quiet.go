package hostmetrics

import (
	"context"
	"log/slog"
	"sync"

	"github.com/opstrace/opstrace-agent/agent/seldom"
)

// quiet is a log of node_exporter, which says at every scrape which collectors have failed:
// ever less often of each of them.
type quiet struct {
	slog.Handler

	mtx *sync.Mutex
	of  map[string]slog.Handler // by collector: each counts for itself
}

func newQuiet(next slog.Handler) quiet {
	return quiet{seldom.New(next, "collector failed"), new(sync.Mutex), map[string]slog.Handler{}}
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	var name string
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "name" {
			name = a.Value.String()
		}
		return name == ""
	})
	q.mtx.Lock()
	h := q.of[name]
	if h == nil {
		h = q.WithAttrs(nil)
		q.of[name] = h
	}
	q.mtx.Unlock()
	return h.Handle(ctx, r)
}
