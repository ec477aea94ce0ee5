package backlog

import (
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// begin adopts what the last run left, takes stock, and creates the generation of
// this run. What cannot be read stays on disk, is reported, and keeps nobody from
// starting. Neither does a disk that cannot be written: unwritable says why, and
// before is what is known of that already. Then the generation of this run has
// nothing but a number, and what could not be adopted is read where it lies. err says
// that the generations cannot even be listed.
func begin(o Options, logger log.Logger, damage *damageLog, before error) (_ *inventory, unwritable, err error) {
	a := &adoption{
		walDir: filepath.Join(o.Dir, "wal"), rootDir: filepath.Join(o.Dir, "backlog"),
		minGeneration: o.MinGeneration, link: o.link, logger: logger,
	}
	damaged := func(path string, err error) {
		if damage.note(path, -1) {
			level.Error(logger).Log("msg", "A part of the backlog cannot be read and stays on disk", "path", path, "err", err)
		}
	}
	if a.numbers, err = generationNumbers(a.rootDir, damaged); err != nil {
		// To go on would take all of it for lost, and release it when it is back.
		return nil, nil, fmt.Errorf("cannot list the backlog: %w", err)
	}
	unwritable = a.empty(before)
	inv := &inventory{walDir: a.walDir, rootDir: a.rootDir, hardLinks: a.hardLinks}
	empty := a.load(inv, unwritable != nil, damaged)
	g := nextGeneration(a, inv.generations, empty)
	if unwritable == nil {
		unwritable = g.create()
	}
	// Only now: what the dropped ones knew of emptiness has been handed on.
	for _, e := range empty {
		if unwritable != nil {
			break
		}
		if err := removeDir(e.dir); err != nil {
			level.Warn(logger).Log("msg", "Cannot remove an empty generation", "generation", e.number, "err", err)
		}
	}
	level.Info(logger).Log("msg", "Backlog opened", "generation", g.number, "finished", len(inv.generations), "dropped_empty", len(empty), "unreadable", len(inv.broken))
	inv.generations = append(inv.generations, g)
	inv.current, inv.numberOnly = g.number, unwritable != nil
	return inv, unwritable, nil
}

// empty moves what the last run left in wal/ out of it. The error says why nothing
// can be written; before, what is known of that already. It goes as far as it can:
// to remove a name from wal/ needs no space.
func (a *adoption) empty(before error) error {
	if before != nil {
		return before
	}
	probed := a.probeHardLinks()
	if probed != nil {
		a.hardLinks = true // perhaps: then nearly all is linked already
	} else if !a.hardLinks {
		level.Warn(a.logger).Log("msg", "The file system has no hard links: what is not delivered before a truncation of the WAL is lost, only restarts lose nothing", "dir", filepath.Dir(a.walDir))
	}
	if err := a.run(); err != nil {
		return fmt.Errorf("cannot adopt the WAL of the last run: %w", err)
	}
	return probed
}

// load fills the inventory with the generations on disk, and returns those without
// samples. With inPlace, so with what is left in wal/.
func (a *adoption) load(inv *inventory, inPlace bool, damaged func(path string, err error)) (empty []*generation) {
	var newest *generation
	var loaded []*generation
	for _, n := range a.numbers {
		g, err := loadGeneration(a.rootDir, n, damaged)
		if newest = g; err != nil {
			newest = nil
			damaged(a.dir(n), err)
			inv.broken = append(inv.broken, brokenGeneration{n, err})
			continue
		}
		loaded = append(loaded, g)
	}
	var inWAL *generation
	if inPlace {
		inv.hardLinks = false // nothing is linked in this run, and what is not is read from wal/
		if inWAL = a.inPlace(newest, damaged); inWAL != nil {
			inv.inPlace = inWAL.number
			if inWAL != newest {
				loaded = append(loaded, inWAL)
			}
		}
	}
	for _, g := range loaded {
		if g == inWAL || g.holdsSamples() {
			inv.generations = append(inv.generations, g)
		} else {
			empty = append(empty, g)
		}
	}
	return empty
}

// nextGeneration returns the one of this run, which is not on disk. The number is
// higher than any on disk, dropped and unreadable ones included.
func nextGeneration(a *adoption, kept, empty []*generation) *generation {
	n := a.next()
	g := &generation{number: n, dir: a.dir(n), emptySince: n}
	for _, e := range empty {
		if len(kept) == 0 || e.number > kept[len(kept)-1].number {
			g.emptySince = min(g.emptySince, e.emptySince)
		}
	}
	return g
}

// create makes the directory of this run.
func (g *generation) create() error {
	err := makeDir(g.dir)
	if err == nil && g.emptySince < g.number {
		err = WriteFileAtomic(filepath.Join(g.dir, emptySinceFile), []byte(strconv.Itoa(g.emptySince)+"\n"))
	}
	if err != nil {
		return fmt.Errorf("cannot begin a generation: %w", err)
	}
	return nil
}
