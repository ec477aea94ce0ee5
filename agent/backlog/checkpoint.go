package backlog

import (
	"errors"
	"slices"
)

// checkpoints knows which checkpoints can be relied upon. Its users hold Store.op.
type checkpoints struct {
	inv    *inventory
	damage *damageLog
}

// base returns the newest checkpoint strictly below segment f which can be read to
// its end, or -1. All that its generation needs for the segments from f on, and
// that lies in segments up to it, is in there.
func (k *checkpoints) base(g *generation, f int) int {
	k.inv.mu.Lock()
	candidates := slices.Clone(g.checkpoints)
	k.inv.mu.Unlock()
	for _, c := range slices.Backward(candidates) {
		if c.index < f && (c.linked || !k.inv.hardLinks) && k.isSound(g, c.index) {
			return c.index
		}
	}
	return -1
}

// isSound reports whether a checkpoint can be read to its end. It does so once.
func (k *checkpoints) isSound(g *generation, i int) bool {
	k.inv.mu.Lock()
	c := g.checkpoint(i)
	if c == nil {
		k.inv.mu.Unlock()
		return false
	}
	state, path := c.state, k.inv.checkpointPath(g, c)
	k.inv.mu.Unlock()
	if state != unverified {
		return state == sound
	}
	state, failed := k.verify(path)
	k.inv.mu.Lock()
	defer k.inv.mu.Unlock()
	if c = g.checkpoint(i); c == nil {
		return false
	}
	if failed {
		// The disk may answer next time; but not at every sweep for ever.
		if c.failures++; c.failures < readAttempts {
			return false
		}
		k.damage.note(path, -1)
	}
	c.state, c.failures = state, 0
	return state == sound
}

// verify reads a checkpoint. failed says that it could not be read, which need not
// be so for ever.
func (k *checkpoints) verify(path string) (state soundness, failed bool) {
	files, err := logFiles(path)
	if err == nil && len(files) == 0 {
		return damaged, false // half of it was removed
	}
	for _, file := range files {
		if err == nil {
			err = scanFile(file, func([]byte, int64) error { return nil })
		}
	}
	var derr *damageError
	if errors.As(err, &derr) {
		k.damage.note(derr.path, derr.lost())
		return damaged, false
	}
	if err != nil {
		return damaged, true
	}
	return sound, false
}

// prune removes the checkpoints and rescued series that a newer checkpoint has
// made superfluous. A checkpoint not below the oldest kept segment helps nobody
// yet; the newest of those stays for later.
func (k *checkpoints) prune(g *generation) error {
	k.inv.mu.Lock()
	f, ok := g.first()
	idle := len(g.checkpoints) == 0 || len(g.checkpoints) == 1 && len(g.series) == 0
	k.inv.mu.Unlock()
	if !ok || idle {
		return nil
	}
	base := k.base(g, f)
	var dirs []string
	k.inv.mu.Lock()
	newest := g.checkpoints[len(g.checkpoints)-1].index
	for n := range g.checkpoints {
		c := &g.checkpoints[n]
		superfluous := c.index < base || c.index >= f && c.index < newest
		if superfluous && c.linked {
			dirs = append(dirs, g.checkpointPath(c.index))
			c.linked = false
		}
	}
	g.checkpoints = slices.DeleteFunc(g.checkpoints, func(c checkpoint) bool { return !c.linked && !c.inWAL })
	for _, s := range g.series {
		if s.upTo <= base {
			dirs = append(dirs, g.seriesPath(s.upTo))
		}
	}
	g.series = slices.DeleteFunc(g.series, func(s rescued) bool { return s.upTo <= base })
	if len(dirs) > 0 {
		g.version++ // before the files go, so that a reader who misses one knows why
	}
	k.inv.mu.Unlock()
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeDir(dir))
	}
	return errors.Join(errs...)
}
