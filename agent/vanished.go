package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// keepStore keeps the backlog in order until ctx ends. Where its directory vanishes, the
// run has to be begun anew, which makes it again: what is appended to a file without a
// name is lost to all but a live queue.
func (r *run) keepStore(ctx context.Context) error {
	err := r.store.Run(ctx)
	if errors.Is(err, backlog.ErrVanished) {
		return fmt.Errorf("%w: %w", errBeginAnew, err)
	}
	return err
}

// marks returns what the last run left: as it could not write it, or delivery.json.
// Where the storage directory has vanished and another one has its name, with marks of
// its own (a volume mounted late, or again), those are of what lies in it: with others,
// that would be released. A copy of the one that vanished, such as a repaired file
// system, has the marks that these followed from: it is continued.
func (a *Agent) marks() (ledger.File, error) {
	if a.unwritten == nil {
		return ledger.Load(a.opts.StoragePath)
	}
	if !a.moved {
		return *a.unwritten, nil
	}
	switch there, err := ledger.Load(a.opts.StoragePath); {
	case err == nil && there.Lost:
		a.unwritten.Held = 0 // what comes back later is no copy of what is begun here
	case err != nil || there.Written != a.unwritten.Held:
		level.Warn(a.opts.Logger).Log("msg", "Another storage directory has the name of the one that was in use: what lies in it is delivered, and its account is continued")
		a.moved, a.unwritten = false, nil
		return there, err
	}
	return *a.unwritten, nil
}
