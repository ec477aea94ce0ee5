package delivery

import (
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

const (
	// mostUnwanted bounds how many series are remembered.
	mostUnwanted = 5000
	// askPause is how long one is left out before the endpoint is asked about it
	// again, as a multiple of the shortest stay behind: five minutes by default.
	askPause = 10
	// quietPauses is for how many of these pauses there must have been none in the
	// flow before it is forgotten, and a queue may send the flow.
	quietPauses = 2
)

// unwanted are the series that an endpoint refuses for what they are: by their
// labels, or because there are too many. They are left out of requests, which it
// would refuse for them, in parts or as a whole. It has no clock.
type unwanted struct {
	pause  time.Duration
	series map[uint64]*unwantedSeries // by the hash of their labels
	// met is when one was refused or left out last.
	met time.Time
}

type unwantedSeries struct {
	labels labels.Labels
	reason string // in the ledger
	words  string // of the endpoint
	// asked is when the endpoint refused it last, met when it was in the flow last.
	asked, met time.Time
}

// note remembers a series that was refused now. Above the bound it is not, nor
// beside another one of the same hash: then it is found out again.
func (u *unwanted) note(s unwantedSeries, now time.Time) {
	u.met = now
	hash := s.labels.Hash()
	if known := u.series[hash]; known != nil && !labels.Equal(known.labels, s.labels) || known == nil && u.full() {
		return
	}
	if u.series == nil {
		u.series = map[uint64]*unwantedSeries{}
	}
	s.asked, s.met = now, now
	u.series[hash] = &s
}

func (u *unwanted) full() bool { return len(u.series) >= mostUnwanted }

// find returns what is remembered of a series, nil if nothing is.
func (u *unwanted) find(lset labels.Labels) *unwantedSeries {
	if s := u.series[lset.Hash()]; s != nil && labels.Equal(s.labels, lset) {
		return s
	}
	return nil
}

// forget drops one series.
func (u *unwanted) forget(s *unwantedSeries) { delete(u.series, s.labels.Hash()) }

// forgetAll is for an endpoint that has taken one of them: what it thinks of the
// others is to be found out.
func (u *unwanted) forgetAll() { u.series = nil }

// expire drops the series that are in the flow no more.
func (u *unwanted) expire(now time.Time) {
	for hash, s := range u.series {
		if now.Sub(s.met) >= quietPauses*u.pause {
			delete(u.series, hash)
		}
	}
}

// quiet reports whether none has been in the flow for long.
func (u *unwanted) quiet(now time.Time) bool {
	return u.met.IsZero() || now.Sub(u.met) >= quietPauses*u.pause
}

// leftOut is what is taken out of a batch.
type leftOut struct {
	refused map[string]uint64 // samples, by reason
	// due is the series that has waited longest to be asked about again, nil if
	// none is due, and items what the batch holds of it.
	due   *unwantedSeries
	items []remotewrite.Item
}

// sift takes unwanted series out of items, in place and without changing their
// order.
func (u *unwanted) sift(items []remotewrite.Item, now time.Time) (kept []remotewrite.Item, out leftOut) {
	found := map[*remotewrite.Series]*unwantedSeries{}
	for _, it := range items {
		if _, looked := found[it.Series]; looked {
			continue
		}
		s := u.find(it.Series.Labels)
		found[it.Series] = s
		if s == nil {
			continue
		}
		u.met, s.met = now, now
		if now.Sub(s.asked) >= u.pause && (out.due == nil || s.asked.Before(out.due.asked)) {
			out.due = s
		}
	}
	out.refused = map[string]uint64{}
	kept = items[:0]
	for _, it := range items {
		switch s := found[it.Series]; {
		case s == nil:
			kept = append(kept, it)
		case s == out.due:
			out.items = append(out.items, it)
		case it.Kind != remotewrite.Exemplar:
			out.refused[s.reason]++
		}
	}
	return kept, out
}

// why says what is left out, and names the series that was refused last; "" when
// nothing is.
func (u *unwanted) why() string {
	var last *unwantedSeries
	for _, s := range u.series {
		if last == nil || s.asked.After(last.asked) {
			last = s
		}
	}
	if last == nil {
		return ""
	}
	return fmt.Sprintf("the endpoint refuses %d series for what they are; they are left out, and all others delivered from the backlog. One is %s: %s",
		len(u.series), shorten(last.labels.String()), shorten(last.words))
}
