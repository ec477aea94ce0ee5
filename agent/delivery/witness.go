package delivery

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// mostWitnesses is of how many series samples are kept while the backlog is read,
	// mostOfWitness how many of each: they take some megabytes at the most.
	mostWitnesses = 32
	mostOfWitness = 1000
	// goesOn is how long ago a series has its last sample at the most that is taken to go on:
	// Prometheus' lookback delta. No sample is kept that is dated further ahead.
	goesOn = 5 * time.Minute
)

// witness is a series that is sent by itself, as far as the endpoint has it and a little
// further, to find out what the endpoint does with partial writes; see askWitnesses.
type witness struct {
	hash   uint64 // labels.StableHash
	series *remotewrite.Series
	items  []remotewrite.Item
	ends   []backlog.Position // of the records that they are from
	last   int64              // the newest time read, in milliseconds
	asked  int                // how many of the items were sent
	caught bool               // the last of those is the newest that the endpoint has
	told   bool               // it agrees that partial writes are stored
	unfit  bool               // it tells nothing
}

// fresh reports whether there are two items behind what the endpoint has.
func (w *witness) fresh() bool { return w.caught && len(w.items)-w.asked >= 2 }

// witnesses are kept while the backlog is read, by a choice that has nothing to do with
// what their labels mean: those with the lowest hashes. They do no I/O.
type witnesses struct {
	kept   map[uint64]*witness
	most   uint64 // no hash above it is kept
	chosen bool   // no others are taken any more
	newest int64  // the newest time read, in milliseconds
}

func newWitnesses() *witnesses {
	return &witnesses{kept: map[uint64]*witness{}, most: math.MaxUint64}
}

// read takes what a record has of the series that are kept. Samples that are not dated
// between two times, in milliseconds, make their series unfit: the endpoint may refuse them
// for that. So do those that are not newer than what came before.
func (ws *witnesses) read(items []remotewrite.Item, end backlog.Position, oldest, latest int64) {
	for i := range items {
		it := &items[i]
		if it.Kind == remotewrite.Exemplar {
			continue
		}
		hash := labels.StableHash(it.Series.Labels)
		w := ws.kept[hash]
		if w == nil {
			if ws.chosen || hash > ws.most {
				continue
			}
			w = &witness{hash: hash, series: it.Series}
			ws.keep(w)
		}
		switch {
		case w.unfit:
			continue
		case it.T < oldest || it.T > latest || len(w.items) > 0 && it.T <= w.last:
			w.unfit, w.items, w.ends = true, nil, nil
			continue
		}
		w.last = it.T
		ws.newest = max(ws.newest, it.T)
		if len(w.items) == mostOfWitness {
			continue
		}
		kept := *it
		kept.Series = w.series // of two generations, a request would name it twice
		w.items, w.ends = append(w.items, kept), append(w.ends, end)
	}
}

func (ws *witnesses) keep(w *witness) {
	ws.kept[w.hash] = w
	if len(ws.kept) <= mostWitnesses {
		return
	}
	highest := uint64(0)
	for hash := range ws.kept {
		highest = max(highest, hash)
	}
	delete(ws.kept, highest)
	ws.most = highest - 1
}

// choose keeps those that go on, at most n, and returns them, those with the fewest samples
// first: each may cost a request. Of n series or fewer it is none: to ask about each sample
// is as good.
func (ws *witnesses) choose(n int) []*witness {
	var out []*witness
	if len(ws.kept) <= n {
		clear(ws.kept)
	}
	for _, w := range ws.kept {
		if !w.unfit && len(w.items) > 0 && ws.newest-w.last <= goesOn.Milliseconds() {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *witness) int {
		return cmp.Or(cmp.Compare(len(a.items), len(b.items)), cmp.Compare(a.hash, b.hash))
	})
	out = out[:min(n, len(out))]
	ws.kept, ws.chosen = map[uint64]*witness{}, true
	for _, w := range out {
		ws.kept[w.hash] = w
	}
	return out
}
