package delivery

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/upstreamqueue"
)

// stopGrace is what a request in flight gets when the agent stops.
const stopGrace = time.Second

// shared is what all destinations of a Delivery use.
type shared struct {
	store   *backlog.Store
	queues  *upstreamqueue.Queues
	book    *ledger.Book
	gone    *absences
	intake  *intake
	catchUp *catchUpRate
	memory  *memory
	logger  log.Logger
	slogger *slog.Logger

	maxLiveLag        time.Duration
	minStay           time.Duration
	typeAndUnitLabels bool

	// saveMarks is marks.save.
	saveMarks func(ctx context.Context) error

	// overtaken is never nil. Once there are destinations, it only becomes zero.
	overtaken atomic.Pointer[ledger.Overtaken]
}

// graceful returns a context that ends a moment after ctx: what is in flight
// when the agent stops may be answered, and need not be sent again.
func graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	g, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(stopGrace, cancel)
		context.AfterFunc(g, func() { t.Stop() })
	})
	return g, func() { stop(); cancel() }
}

// sleep returns false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// wait returns when changed or wake has something, at the latest after d. wake
// may be nil.
func wait(ctx context.Context, changed, wake <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-wake:
	case <-t.C:
	}
}
