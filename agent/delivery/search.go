package delivery

import (
	"cmp"
	"math"
	"slices"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// mostInVain is how many requests for parts of one refused batch an endpoint may
// refuse in a row, before a single sample is asked about; if that is refused as
// well, the endpoint is taken to refuse everything. After a batch in vain it is
// a quarter, down to one: an endpoint that refuses everything is asked twice for
// each batch. The first part that is taken brings it back.
const mostInVain = 32

// search is the way to the refused samples of one batch.
type search struct {
	budget   int
	refusals int  // in a row
	taken    bool // a part of the batch has been acknowledged
	parts    int  // how many have been
	oneAsked bool
	asked    bool // see event.asked
	// overtaken: see event.overtaken. unproven: see event.unproven.
	overtaken, unproven bool
	// unsure: a refusal of a part does not tell whether it was stored with the
	// whole, or is older than what came before a step of the clock.
	unsure bool
	// reason of the last refusal; ofSeries: which was for what a series is.
	reason   string
	ofSeries bool
	// gaveUp: samples were given up for something else than what a series is.
	gaveUp bool
	// series: some refusal was. unwanted are those that were found to be the reason.
	series   bool
	unwanted []unwantedSeries
}

// vain reports whether enough parts have been refused in a row.
func (s *search) vain() bool { return s.refusals >= s.budget }

// took notes that a part was taken: the endpoint does not refuse everything, and
// the others are worth the whole search again.
func (s *search) took() {
	s.taken, s.refusals, s.budget = true, 0, mostInVain
	s.parts++
}

// hopeless reports whether nothing more of the batch is worth a request.
func (s *search) hopeless() bool { return s.oneAsked && !s.taken }

// anew has one more part sent of a batch that is hopeless. It is asked about as if many
// had been refused before it: two requests tell that it is refused like the others.
func (s *search) anew() { s.oneAsked, s.refusals = false, max(0, s.budget-1) }

// because notes what a refusal was for.
func (s *search) because(r *remotewrite.Refusal) {
	s.reason, s.ofSeries = remotewrite.Reason(r.Status, r.Error()), remotewrite.AboutSeries(r.Body) && r.Class() == remotewrite.Final
	if r.Class() == remotewrite.TooLarge {
		s.reason = "too_large"
	}
}

// refuse counts so many samples of a part as given up for the last refusal. What an
// endpoint says now does not tell whether they were stored by an earlier request, but for
// what it says of a series, which was so then, too.
func (s *search) refuse(p *part, o *ledger.Outcome, n uint64) {
	s.gaveUp = s.gaveUp || !s.ofSeries
	if s.unsure || p.resent && !s.ofSeries {
		o.Doubt(s.reason, n)
		return
	}
	o.Refuse(s.reason, n)
}

// name notes that a series is refused by itself, if that is for what it is.
func (s *search) name(series *remotewrite.Series, r *remotewrite.Refusal) {
	if !remotewrite.AboutSeries(r.Body) {
		return
	}
	s.series = true
	s.unwanted = append(s.unwanted, unwantedSeries{labels: series.Labels, reason: remotewrite.Reason(r.Status, r.Error()), words: r.Body})
}

// part is what goes into one request, grouped by series.
type part struct {
	items []remotewrite.Item
	// before: an earlier request with these items may have been stored. resent: with all
	// of them, and not only what an endpoint took of a request that it refused.
	before, resent bool
	// unordered: what was sent before of these need not be the first of them in the order
	// of the WAL.
	unordered bool
	// asked: it has samples only of series that were asked about; see part.aside. late: it
	// has late ones only; see part.apart.
	asked, late bool
	// perhaps: that it was sent before is no more than possible, so that what is there is not
	// known to be ours.
	perhaps bool
	// last is the newest sample of the request, stamped ahead ones aside.
	last remotewrite.Item
	// failed is how many requests with it have failed before it became a part.
	failed int
}

// of returns the part with these of its items only.
func (p part) of(items []remotewrite.Item) part {
	p.items = items
	return p
}

// judge notes a refusal, and makes of it what the machine is asked about.
func (s *search) judge(p *part, r *remotewrite.Refusal) event {
	e := event{
		kind: refused, class: r.Class(),
		there: remotewrite.AlreadyThere(r.Body), before: p.before,
		series:      remotewrite.AboutSeries(r.Body),
		outOfWindow: remotewrite.OutOfWindow(r.Body),
		large:       large(p.items), othersPass: s.taken,
		alone: len(p.items) == 1, asked: s.asked || p.unordered, oneAsked: s.oneAsked,
		overtaken: s.overtaken, unproven: s.unproven || p.perhaps,
	}
	s.because(r)
	// A series that is refused is no surprise once it is alone.
	if e.class == remotewrite.Final && !(e.there && e.before) && (!oneSeries(p.items) || !s.taken) {
		s.refusals++
	}
	e.vain = s.vain()
	s.series = s.series || s.ofSeries
	return e
}

// splitPoint returns where to cut grouped items in two: between two series next
// to the middle, so that a series which is refused is soon alone; within the
// series if there is only one. Either way, what comes first is the older.
func splitPoint(items []remotewrite.Item) int {
	middle := len(items) / 2
	for d := 0; d < len(items); d++ {
		for _, i := range []int{middle - d, middle + d} {
			if i > 0 && i < len(items) && items[i].Series != items[i-1].Series {
				return i
			}
		}
	}
	return middle
}

// splitTime moves the older half of the time that items span to the front, each
// half still grouped, and returns where the newer begins; 0 when all are of one
// time.
func splitTime(items []remotewrite.Item) int {
	first, last := items[0].T, items[0].T
	for _, it := range items {
		first, last = min(first, it.T), max(last, it.T)
	}
	if first == last {
		return 0
	}
	middle := first + (last-first)/2
	return partition(items, func(it *remotewrite.Item) bool { return it.T <= middle })
}

// splitOrder moves the half of grouped items that comes first in the order of the WAL to
// the front, but no more than about most of them, each half still grouped, and returns
// where the other begins. There are two items at least.
func splitOrder(items []remotewrite.Item, most uint32) int {
	first, last := boundsOfOrder(items, func(it *remotewrite.Item) bool { return it.Kind != remotewrite.Exemplar })
	if first >= last {
		first, last = boundsOfOrder(items, func(*remotewrite.Item) bool { return true })
		middle := first + (last-first)/2
		return partition(items, func(it *remotewrite.Item) bool { return it.Order <= middle })
	}
	middle := first + min((last-first)/2, most-1)
	return partitionWithSamples(items, func(it *remotewrite.Item) bool { return it.Order <= middle })
}

// partitionWithSamples is partition, but for exemplars whose series has samples on one
// side only: these go there, as an endpoint may refuse them without a sample.
func partitionWithSamples(items []remotewrite.Item, front func(it *remotewrite.Item) bool) int {
	type sides struct{ front, behind bool }
	samples := map[*remotewrite.Series]sides{}
	if slices.ContainsFunc(items, func(it remotewrite.Item) bool { return it.Kind == remotewrite.Exemplar }) {
		for i := range items {
			if it := &items[i]; it.Kind != remotewrite.Exemplar {
				has, first := samples[it.Series], front(it)
				samples[it.Series] = sides{has.front || first, has.behind || !first}
			}
		}
	}
	return partition(items, func(it *remotewrite.Item) bool {
		if has := samples[it.Series]; it.Kind == remotewrite.Exemplar && has.front != has.behind {
			return has.front
		}
		return front(it)
	})
}

// boundsOfOrder returns the least and the greatest order of the items that count; the
// least is greater if none does.
func boundsOfOrder(items []remotewrite.Item, counts func(it *remotewrite.Item) bool) (first, last uint32) {
	first = math.MaxUint32
	for i := range items {
		if counts(&items[i]) {
			first, last = min(first, items[i].Order), max(last, items[i].Order)
		}
	}
	return first, last
}

// partition moves the items that are to be in front there, keeps the order otherwise, and
// returns how many they are.
func partition(items []remotewrite.Item, front func(it *remotewrite.Item) bool) int {
	behind := make([]remotewrite.Item, 0, len(items)/2)
	kept := items[:0]
	for i := range items {
		if front(&items[i]) {
			kept = append(kept, items[i])
		} else {
			behind = append(behind, items[i])
		}
	}
	copy(items[len(kept):], behind)
	return len(kept)
}

// lastInOrder returns the sample that comes last in the order of the WAL, of those that are
// not dated ahead of a time, in milliseconds.
func lastInOrder(items []remotewrite.Item, upTo int64) (last remotewrite.Item) {
	for i := range items {
		if it := &items[i]; it.Kind != remotewrite.Exemplar && it.T <= upTo && (last.Series == nil || it.Order > last.Order) {
			last = *it
		}
	}
	return last
}

// typicalSeries returns the bounds of a run of samples of one series in grouped
// items: of those whose newest sample has the median time, the shortest.
func typicalSeries(items []remotewrite.Item) (from, to int) {
	type run struct{ from, to int }
	var runs []run
	for i := 0; i < len(items); {
		j := i + 1
		for j < len(items) && items[j].Series == items[i].Series && items[j].Kind != remotewrite.Exemplar {
			j++
		}
		if items[i].Kind != remotewrite.Exemplar {
			runs = append(runs, run{i, j})
		}
		i = j
	}
	if len(runs) == 0 {
		return 0, 0
	}
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(items[a.to-1].T, items[b.to-1].T) })
	best := runs[len(runs)/2]
	for _, r := range runs {
		if items[r.to-1].T == items[best.to-1].T && r.to-r.from < best.to-best.from {
			best = r
		}
	}
	return best.from, best.to
}

// runUpTo returns the bounds of the samples of last's series in grouped items that
// are not newer than last.
func runUpTo(items []remotewrite.Item, last remotewrite.Item) (from, to int) {
	for i := range items {
		if items[i].Series != last.Series || items[i].Kind == remotewrite.Exemplar || items[i].T > last.T {
			continue
		}
		if to == 0 {
			from = i
		}
		to = i + 1
	}
	return from, to
}

// oneSeries reports whether grouped items are all of one series.
func oneSeries(items []remotewrite.Item) bool {
	return len(items) > 0 && items[0].Series == items[len(items)-1].Series
}

// olderOfPairs returns the indices of samples of different series, at most n, for
// each of which grouped items hold a newer one of the same series: the oldest,
// because one that is taken must not have overtaken any.
func olderOfPairs(items []remotewrite.Item, n int) []int {
	var out []int
	for i := 0; i < len(items) && len(out) < n; {
		j, oldest, pair := i, -1, false
		for ; j < len(items) && items[j].Series == items[i].Series; j++ {
			switch {
			case items[j].Kind == remotewrite.Exemplar:
			case oldest < 0:
				oldest = j
			case items[oldest].T < items[j].T:
				pair = true
			}
		}
		if pair {
			out = append(out, oldest)
		}
		i = j
	}
	return out
}
