package backlog

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// begin adopts what the last run left, takes stock, and creates the generation of
// this run. What cannot be read stays on disk, is reported, and keeps nobody from
// starting.
func begin(o Options, logger log.Logger, damage *damageLog) (*inventory, error) {
	a := &adoption{
		walDir: filepath.Join(o.Dir, "wal"), rootDir: filepath.Join(o.Dir, "backlog"),
		minGeneration: o.MinGeneration, link: o.link, logger: logger,
	}
	damaged := func(path string, err error) {
		if damage.note(path, -1) {
			level.Error(logger).Log("msg", "A part of the backlog cannot be read and stays on disk", "path", path, "err", err)
		}
	}
	var err error
	if a.numbers, err = generationNumbers(a.rootDir, damaged); err != nil {
		return nil, fmt.Errorf("cannot list the backlog: %w", err)
	}
	if err := a.probeHardLinks(); err != nil {
		return nil, err
	}
	if !a.hardLinks {
		level.Warn(logger).Log("msg", "The file system has no hard links: what is not delivered before a truncation of the WAL is lost, only restarts lose nothing", "dir", o.Dir)
	}
	if err := a.run(); err != nil {
		return nil, fmt.Errorf("cannot adopt the WAL of the last run: %w", err)
	}
	inv := &inventory{walDir: a.walDir, rootDir: a.rootDir, hardLinks: a.hardLinks}
	var empty []*generation
	for _, n := range a.numbers {
		g, err := loadGeneration(a.rootDir, n, damaged)
		switch {
		case err != nil:
			damaged(a.dir(n), err)
			inv.broken = append(inv.broken, brokenGeneration{n, err})
		case g.holdsSamples():
			inv.generations = append(inv.generations, g)
		default:
			empty = append(empty, g)
		}
	}
	g, err := createGeneration(a, inv.generations, empty)
	if err != nil {
		return nil, fmt.Errorf("cannot begin a generation: %w", err)
	}
	// Only now: what the dropped ones knew of emptiness has been handed on.
	for _, e := range empty {
		if err := removeDir(e.dir); err != nil {
			level.Warn(logger).Log("msg", "Cannot remove an empty generation", "generation", e.number, "err", err)
		}
	}
	level.Info(logger).Log("msg", "Backlog opened", "generation", g.number, "finished", len(inv.generations), "dropped_empty", len(empty), "unreadable", len(inv.broken))
	inv.generations = append(inv.generations, g)
	inv.current = g.number
	return inv, nil
}

// createGeneration makes the directory of this run. The number is higher than any
// on disk, dropped and unreadable ones included.
func createGeneration(a *adoption, kept, empty []*generation) (*generation, error) {
	n := a.next()
	g := &generation{number: n, dir: a.dir(n), emptySince: n}
	for _, e := range empty {
		if len(kept) == 0 || e.number > kept[len(kept)-1].number {
			g.emptySince = min(g.emptySince, e.emptySince)
		}
	}
	if err := os.MkdirAll(g.dir, dirMode); err != nil {
		return nil, err
	}
	if g.emptySince < n {
		if err := WriteFileAtomic(filepath.Join(g.dir, emptySinceFile), []byte(strconv.Itoa(g.emptySince)+"\n")); err != nil {
			return nil, err
		}
	}
	return g, syncPath(a.rootDir)
}
