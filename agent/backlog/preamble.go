package backlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// preamble is what a reader has to read of a generation before its segments, so
// that references mean something.
type preamble struct {
	pending   bool
	version   int      // of the generation when the directories were listed
	dirs      []string // to be read
	files     []string // of the directory being read
	consulted bool     // all checkpoints are in dirs, because one is damaged
}

// startPreamble lists what is to be read. Callers hold mu.
func (r *Reader) startPreamble() {
	g := r.gen
	c := preamble{pending: true, version: g.version}
	f, ok := g.first()
	for n := len(g.checkpoints) - 1; ok && n >= 0; n-- {
		if !g.checkpoints[n].linked && r.s.hardLinks {
			continue // upstream may delete it any moment
		}
		if g.checkpoints[n].index < f {
			c.dirs = append(c.dirs, r.s.checkpointPathOf(g, &g.checkpoints[n]))
			break
		}
	}
	for _, rs := range g.series {
		c.dirs = append(c.dirs, g.seriesPath(rs.upTo))
	}
	r.preamble = c
}

// restartPreamble begins with it again, for what was removed since it was
// read. Some series are told twice.
func (r *Reader) restartPreamble() {
	r.leave()
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.startPreamble()
	r.seg = -1
}

// readPreamble returns the next series or metadata record, or nil when there is
// something else to do first.
func (r *Reader) readPreamble() (*Record, error) {
	c := &r.preamble
	if r.cur == nil {
		return r.openPreamble()
	}
	for {
		data, err := r.cur.next()
		if err == nil {
			if t := recordType(data); isContext(t) {
				return &Record{Pos: r.pos, End: r.pos, Context: true, Type: t, Data: data}, nil
			}
			continue // never a sample: upstream invents those of a checkpoint
		}
		if isReadFailure(err) && r.failures < readAttempts-1 {
			r.leave()
			return nil, r.failed(err)
		}
		r.failures = 0
		size, clean, rerr := r.cur.rest()
		read, path := r.cur.end, c.files[0]
		r.leave()
		c.files = c.files[1:]
		if errors.Is(err, io.EOF) && clean && rerr == nil {
			return nil, nil
		}
		if errors.Is(err, io.EOF) {
			err = errCut
		}
		return r.damagedPreamble(path, size-read, err), nil
	}
}

func (r *Reader) openPreamble() (*Record, error) {
	c := &r.preamble
	var err error
	switch {
	case len(c.files) > 0:
		r.cur, err = openSegment(c.files[0])
	case len(c.dirs) > 0:
		if c.files, err = logFiles(c.dirs[0]); err == nil {
			c.dirs = c.dirs[1:]
		}
	default:
		c.pending = false
	}
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && r.failures < readAttempts-1 {
		return nil, r.failed(err)
	}
	r.failures = 0
	if r.preambleChanged() { // replaced by something better
		r.restartPreamble()
		return nil, nil
	}
	var path string
	if len(c.files) > 0 {
		path, c.files = c.files[0], c.files[1:]
	} else {
		path, c.dirs = c.dirs[0], c.dirs[1:]
	}
	return r.damagedPreamble(path, -1, err), nil
}

// consultCheckpoints has all checkpoints read, after series records were lost: each
// knows most of the series, also one that is newer than what is being read.
func (r *Reader) consultCheckpoints() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	g := r.gen
	for n := range g.checkpoints {
		if c := &g.checkpoints[n]; c.linked || !r.s.hardLinks {
			r.preamble.dirs = append(r.preamble.dirs, r.s.checkpointPathOf(g, c))
			r.preamble.pending = true
		}
	}
}

func (r *Reader) preambleChanged() bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.gen.version != r.preamble.version
}

// damagedPreamble reports damage to series records.
func (r *Reader) damagedPreamble(path string, lost int64, err error) *Record {
	if !r.preamble.consulted {
		r.preamble.consulted = true
		r.consultCheckpoints()
	}
	r.s.noteDamage(path, lost)
	return &Record{Kind: Damaged, Pos: r.pos, End: r.pos, Context: true, Lost: lost, Err: fmt.Errorf("series records in %s are damaged: %w", path, err)}
}
