package backlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// preamble is what a reader has to read of a generation before its segments, so
// that references mean something: series and metadata records.
type preamble struct {
	inv    *inventory
	damage *damageLog

	gen       *generation
	pending   bool     // something is still to be read
	version   int      // of the generation when the directories were listed
	dirs      []string // to be read
	files     []string // of the directory being read
	cur       *segmentReader
	failures  int  // to read, in a row
	consulted bool // all checkpoints are in dirs, because one is damaged
}

// errReplaced says that a part of the preamble has been replaced by something better.
var errReplaced = errors.New("replaced meanwhile")

// start lists what is to be read. Callers hold inventory.mu.
func (p *preamble) start(g *generation) {
	p.leave()
	*p = preamble{inv: p.inv, damage: p.damage, gen: g, pending: true, version: g.version}
	f, ok := g.first()
	for n := len(g.checkpoints) - 1; ok && n >= 0; n-- {
		if !g.checkpoints[n].linked && p.inv.hardLinks {
			continue // upstream may delete it any moment
		}
		if g.checkpoints[n].index < f {
			p.dirs = append(p.dirs, p.inv.checkpointPath(g, &g.checkpoints[n]))
			break
		}
	}
	if g.seriesErr != nil {
		p.dirs = append(p.dirs, filepath.Join(g.dir, seriesDir)) // fails, and is reported
	}
	for _, rs := range g.series {
		p.dirs = append(p.dirs, g.seriesPath(rs.upTo))
	}
}

// leave closes the open file.
func (p *preamble) leave() {
	if p.cur != nil {
		p.cur.close()
		p.cur = nil
	}
}

// next returns the next record, without positions, or nil when there is something
// else to do first. After errReplaced the preamble is to be begun anew; other errors
// are failures of the disk.
func (p *preamble) next() (*Record, error) {
	if p.cur == nil {
		return p.open()
	}
	for {
		data, err := p.cur.next()
		if err == nil {
			if t := recordType(data); isContext(t) {
				return &Record{Type: t, Data: data}, nil
			}
			continue // never a sample: upstream invents those of a checkpoint
		}
		if isReadFailure(err) && p.failures < readAttempts-1 {
			p.leave()
			p.failures++
			return nil, err
		}
		p.failures = 0
		size, clean, rerr := p.cur.rest()
		read, path := p.cur.end, p.files[0]
		p.leave()
		p.files = p.files[1:]
		if errors.Is(err, io.EOF) && clean && rerr == nil {
			return nil, nil
		}
		if errors.Is(err, io.EOF) {
			err = errCut
		}
		return p.damaged(path, size-read, err), nil
	}
}

// open opens the next file, or lists the next directory.
func (p *preamble) open() (*Record, error) {
	var err error
	switch {
	case len(p.files) > 0:
		p.cur, err = openSegment(p.files[0])
	case len(p.dirs) > 0:
		if p.files, err = logFiles(p.dirs[0]); err == nil {
			p.dirs = p.dirs[1:]
		}
	default:
		p.pending = false
	}
	if err == nil {
		return nil, nil
	}
	if isScarcity(err) {
		return nil, err
	}
	if !errors.Is(err, fs.ErrNotExist) && p.failures < readAttempts-1 {
		p.failures++
		return nil, err
	}
	p.failures = 0
	if p.changed() {
		return nil, errReplaced
	}
	var path string
	if len(p.files) > 0 {
		path, p.files = p.files[0], p.files[1:]
	} else {
		path, p.dirs = p.dirs[0], p.dirs[1:]
	}
	return p.damaged(path, -1, err), nil
}

// consult has all checkpoints read, after series records were lost: each knows most
// of the series, also one that is newer than what is being read.
func (p *preamble) consult() {
	p.inv.mu.Lock()
	defer p.inv.mu.Unlock()
	for n := range p.gen.checkpoints {
		if c := &p.gen.checkpoints[n]; c.linked || !p.inv.hardLinks {
			p.dirs = append(p.dirs, p.inv.checkpointPath(p.gen, c))
			p.pending = true
		}
	}
}

func (p *preamble) changed() bool {
	p.inv.mu.Lock()
	defer p.inv.mu.Unlock()
	return p.gen.version != p.version
}

// damaged reports damage to series records.
func (p *preamble) damaged(path string, lost int64, err error) *Record {
	if !p.consulted {
		p.consulted = true
		p.consult()
	}
	p.damage.note(path, lost)
	return &Record{Kind: Damaged, Lost: lost, Err: fmt.Errorf("series records in %s are damaged: %w", path, err)}
}
