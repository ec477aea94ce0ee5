package backlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// remover unlinks what nobody needs.
type remover struct {
	inv         *inventory
	tallies     *tallies
	checkpoints *checkpoints
	rescuer     *rescuer
}

// released unlinks what lies before the released position: whole segments, in order,
// and finished generations. Callers hold Store.op.
func (r *remover) released() error {
	inv := r.inv
	inv.mu.Lock()
	released := inv.released
	var done []*generation
	for _, g := range inv.generations {
		if g.number < released.Generation && g.number != inv.current {
			done = append(done, g)
		}
	}
	g := inv.generation(released.Generation)
	var going []int
	if g != nil {
		going = g.unneeded(released.Segment)
	}
	inv.mu.Unlock()
	var errs []error
	for _, g := range done {
		errs = append(errs, r.generation(g))
	}
	if len(going) > 0 {
		errs = append(errs, r.rescueAndUnlink(g, going))
	}
	return errors.Join(errs...)
}

func (r *remover) rescueAndUnlink(g *generation, going []int) error {
	if err := r.rescuer.rescue(g, going); err != nil {
		return err
	}
	return errors.Join(r.segments(g, going), r.checkpoints.prune(g))
}

// unneeded returns the segments below i that may be unlinked. One that is still in
// wal/ waits. The last segment stays in any case: marks point to its end. Callers
// hold inventory.mu.
func (g *generation) unneeded(i int) (going []int) {
	for _, seg := range g.segments[:max(0, len(g.segments)-1)] {
		if seg.index >= i || seg.inWAL {
			break
		}
		going = append(going, seg.index)
	}
	return going
}

// segments removes segments, oldest first, under all names. Callers hold Store.op.
func (r *remover) segments(g *generation, going []int) error {
	var inWAL, linked []string
	r.inv.mu.Lock()
	for _, i := range going {
		seg := g.segment(i)
		if seg == nil {
			continue
		}
		if seg.inWAL {
			inWAL = append(inWAL, segmentName(i))
		}
		if seg.linked {
			linked = append(linked, segmentName(i))
		}
	}
	g.segments = slices.DeleteFunc(g.segments, func(seg segment) bool { return slices.Contains(going, seg.index) })
	g.version++ // before the files go, so that a reader who misses one knows why
	running := g.number == r.inv.current
	r.inv.mu.Unlock()
	if running {
		r.tallies.forget(going...)
	}
	var errs []error
	for _, name := range inWAL {
		errs = append(errs, os.RemoveAll(filepath.Join(r.inv.walDir, name)))
	}
	if running { // upstream's removals, too
		if err := syncPath(r.inv.walDir); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(linked) > 0 {
		errs = append(errs, removeDurably(g.dir, linked...))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot remove segments: %w", err)
	}
	return nil
}

// generation removes a finished generation as a whole. Callers hold Store.op.
func (r *remover) generation(g *generation) error {
	r.inv.mu.Lock()
	inWAL := r.inv.inWAL(g)
	g.removed = true
	g.segments, g.checkpoints, g.series = nil, nil, nil
	g.version++
	r.inv.generations = slices.DeleteFunc(r.inv.generations, func(other *generation) bool { return other == g })
	r.inv.mu.Unlock()
	var errs []error
	for _, path := range inWAL { // first: what stays there becomes a generation again
		errs = append(errs, os.RemoveAll(path))
	}
	if err := errors.Join(append(errs, removeDir(g.dir))...); err != nil {
		return fmt.Errorf("cannot remove generation %d: %w", g.number, err)
	}
	r.inv.mu.Lock()
	defer r.inv.mu.Unlock()
	if r.inv.inPlace == g.number {
		r.inv.inPlace = 0
	}
	return nil
}

// inWAL lists what a finished generation has in wal/: nothing, unless nothing could
// be written when the store was opened. Callers hold mu.
func (inv *inventory) inWAL(g *generation) (paths []string) {
	for _, seg := range g.segments {
		if seg.inWAL {
			paths = append(paths, inv.walSegment(seg.index))
		}
	}
	for _, c := range g.checkpoints {
		if c.inWAL {
			paths = append(paths, inv.walCheckpoint(c.index))
		}
	}
	return paths
}
