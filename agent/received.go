package agent

import (
	"context"

	"github.com/prometheus/prometheus/storage"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// AppenderV2 implements storage.AppendableV2 for requests of programs that send samples;
// see delivery.WithReceived. Between two runs, nothing is taken.
func (a *Agent) AppenderV2(ctx context.Context) storage.AppenderV2 {
	r := a.current()
	if r == nil {
		return delivery.NotNow(ctx)
	}
	return r.appendable.AppenderV2(ctx)
}

// Sync writes to the disk what was appended. The error is ErrNotReady between two runs.
// After any other error a new run begins: in this one nothing could be told to be on the
// disk any more.
func (a *Agent) Sync() error {
	r := a.current()
	if r == nil {
		return ErrNotReady
	}
	err := r.store.SyncAll()
	if err != nil {
		r.delivery.Unsynced(err)
	}
	return err
}
