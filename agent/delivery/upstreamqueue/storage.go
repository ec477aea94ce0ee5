package upstreamqueue

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage/remote"
)

// flushDeadline is how long upstream may flush a queue that is being stopped.
// No flush is needed for safety, and the end of the process waits for it.
const flushDeadline = 500 * time.Millisecond

// newStorage is where upstream's remote storage is made.
func newStorage(o Options, logger *slog.Logger, r prometheus.Registerer) *remote.Storage {
	never := func() (int64, error) { return 0, nil } // asked for reads only
	return remote.NewStorage(logger, r, never, o.Dir, flushDeadline, o.ScrapeManager, o.TypeAndUnitLabels)
}
