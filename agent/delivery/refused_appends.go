package delivery

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// refusingAppender is what a scrape gets while the disk is full. It takes
// samples and drops them, counted: an error would make the scrape itself look
// failed.
type refusingAppender struct {
	book      *ledger.Book
	committed func()
	n         uint64
}

// Append implements storage.AppenderV2. The reference 0 is "unknown" upstream.
func (a *refusingAppender) Append(storage.SeriesRef, labels.Labels, int64, int64, float64, *histogram.Histogram, *histogram.FloatHistogram, storage.AppendV2Options) (storage.SeriesRef, error) {
	a.n++
	return 0, nil
}

// Commit implements storage.AppenderV2.
func (a *refusingAppender) Commit() error {
	a.book.NotAppended(a.n)
	a.committed()
	return nil
}

// Rollback implements storage.AppenderV2.
func (*refusingAppender) Rollback() error { return nil }
