package receive

import "sync"

// groupSync syncs for all at once that wait for it.
type groupSync struct {
	running sync.Mutex // held during a sync

	mtx  sync.Mutex
	next *round // the sync that is to begin; nil: nobody waits for one
}

// round is one sync.
type round struct {
	done chan struct{}
	err  error
}

// do returns when a sync has ended that began after it was called.
func (g *groupSync) do(sync func() error) error {
	g.mtx.Lock()
	r := g.next
	first := r == nil
	if first {
		r = &round{done: make(chan struct{})}
		g.next = r
	}
	g.mtx.Unlock()
	if !first {
		<-r.done
		return r.err
	}
	g.running.Lock()
	defer g.running.Unlock()
	g.mtx.Lock()
	g.next = nil // who comes from now on may have committed after the sync began
	g.mtx.Unlock()
	r.err = sync()
	close(r.done)
	return r.err
}
