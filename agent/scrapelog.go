package agent

import (
	"context"
	"log/slog"

	"github.com/opstrace/opstrace-agent/agent/seldom"
)

// duplicatesMessage is what upstream's scrape loop logs for each scrape of which
// samples were refused as duplicates. Series above a limit are refused as such.
const duplicatesMessage = "Error on ingesting samples with different value but same timestamp"

// newScrapeLog returns what upstream's scraping logs to. What upstream says at every
// scrape of a target is said ever less often, so that one bad target does not fill a disk.
func newScrapeLog(next slog.Handler, dropping func() bool) scrapeLog {
	return scrapeLog{seldom.New(next,
		duplicatesMessage,
		"Error on ingesting out-of-order samples",
		"Error on ingesting samples that are too old or are too far into the future",
		"Error on ingesting out-of-order exemplars",
		"Append failed",
		"Appending scrape report failed",
		"Scrape commit failed",
	), dropping}
}

// scrapeLog is upstream's log of scraping. While series are dropped because of a
// limit, which is logged once, it does not take them for duplicates at every scrape.
type scrapeLog struct {
	slog.Handler

	dropping func() bool
}

// Handle implements slog.Handler.
func (l scrapeLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == duplicatesMessage && l.dropping() {
		if !l.Enabled(ctx, slog.LevelDebug) {
			return nil
		}
		r = r.Clone()
		r.Level, r.Message = slog.LevelDebug, "Samples not taken: duplicates, or of series that are dropped because of a limit"
	}
	return l.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (l scrapeLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return scrapeLog{l.Handler.WithAttrs(attrs), l.dropping}
}

// WithGroup implements slog.Handler.
func (l scrapeLog) WithGroup(name string) slog.Handler {
	return scrapeLog{l.Handler.WithGroup(name), l.dropping}
}
