// Package seldom makes a log say ever less often what happens again and again.
package seldom

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// firstPause is for how long nothing is said after the first time, each time
	// twice as long as the time before, up to longestPause.
	firstPause   = 5 * time.Minute
	longestPause = 6 * time.Hour
	// over is how long something must not have happened to be new again.
	over = time.Hour
)

// Handler is a slog.Handler. One that WithAttrs or WithGroup returns counts for
// itself: what one target or queue has said often is news of another one.
type Handler struct {
	slog.Handler

	messages []string
	mtx      *sync.Mutex
	episodes map[string]*episode
}

// New returns a handler for next that says the given messages ever less often,
// unless next takes debug messages: then all of them.
func New(next slog.Handler, messages ...string) Handler {
	return Handler{next, messages, new(sync.Mutex), map[string]*episode{}}
}

// Handle implements slog.Handler.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	if !slices.Contains(h.messages, r.Message) || h.Enabled(ctx, slog.LevelDebug) {
		return h.Handler.Handle(ctx, r)
	}
	h.mtx.Lock()
	e := h.episodes[r.Message]
	if e == nil {
		e = &episode{}
		h.episodes[r.Message] = e
	}
	say, silent := e.happened(r.Time)
	h.mtx.Unlock()
	if !say {
		return nil
	}
	if silent > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("lines_not_logged", silent))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return New(h.Handler.WithAttrs(attrs), h.messages...)
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler {
	return New(h.Handler.WithGroup(name), h.messages...)
}

// episode is one thing that goes on.
type episode struct {
	said, last time.Time
	pause      time.Duration
	silent     int // how often it has happened since it was said
}

// happened reports whether to say so, and how often that has not been done since the
// last time.
func (e *episode) happened(now time.Time) (say bool, silent int) {
	if now.Sub(e.last) >= over {
		*e = episode{said: now, last: now, pause: firstPause, silent: 0}
		return true, 0
	}
	e.last = now
	if now.Sub(e.said) < e.pause {
		e.silent++
		return false, 0
	}
	silent = e.silent
	e.said, e.pause, e.silent = now, min(2*e.pause, longestPause), 0
	return true, silent
}
