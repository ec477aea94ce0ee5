package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/model/labels"
)

const (
	// maxOffenders is how many targets are counted apart: their names come from
	// outside. The rest count as one without a name.
	maxOffenders = 1000
	// worstOffenders is how many of them are shown.
	worstOffenders = 5
	// dropsOver is how long nothing may be dropped before that counts as over.
	// Targets are scraped more often than this.
	dropsOver = 5 * time.Minute
)

// Offender is a target with what was dropped of it.
type Offender struct {
	Job      string `json:"job"`
	Instance string `json:"instance"`
	// Dropped samples since the first of this episode.
	Dropped uint64 `json:"dropped"`
}

func (o Offender) String() string {
	return fmt.Sprintf("%s/%s (%d)", cmp.Or(o.Job, "-"), cmp.Or(o.Instance, "-"), o.Dropped)
}

type targetName struct{ job, instance string }

func nameOf(ls labels.Labels) targetName {
	return targetName{shorten(ls.Get("job")), shorten(ls.Get("instance"))}
}

// shorten keeps a name from outside from taking the log and the memory.
func shorten(s string) string {
	const enough = 200
	if len(s) > enough {
		s = s[:enough] + "…"
	}
	return strings.Clone(strings.ToValidUTF8(s, "")) // else no metric could be named so
}

// drops counts what the limits keep out, by reason and by target. An episode
// begins with the first sample after a while, and is logged once.
type drops struct {
	logger log.Logger

	mtx      sync.Mutex
	total    map[string]uint64 // by reason, in this run
	episodes map[string]*episode
}

// episode is one reason's, as long as it goes on.
type episode struct {
	last      time.Time
	dropped   uint64
	byTarget  map[targetName]uint64
	announced bool
}

func newDrops(logger log.Logger) *drops {
	return &drops{logger: logger, total: map[string]uint64{}, episodes: map[string]*episode{}}
}

// begin says that a scrape has met a limit, before it is known how often, or
// whether it is committed at all: upstream's log of it comes before the commit.
func (d *drops) begin(reason string, now time.Time) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.episode(reason).last = now
}

func (d *drops) episode(reason string) *episode {
	e := d.episodes[reason]
	if e == nil {
		e = &episode{byTarget: map[targetName]uint64{}}
		d.episodes[reason] = e
	}
	return e
}

// add counts n samples of a target.
func (d *drops) add(reason string, target targetName, n uint64, now time.Time) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	d.total[reason] += n
	e := d.episode(reason)
	if _, known := e.byTarget[target]; !known && len(e.byTarget) >= maxOffenders {
		target = targetName{}
	}
	e.byTarget[target] += n
	e.dropped += n
	e.last = now
}

// tick logs what has begun and what is over. By then the scrapes that began it
// have been counted whole, so that the worst of them can be named.
func (d *drops) tick(now time.Time) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	for reason, e := range d.episodes {
		over := now.Sub(e.last) > dropsOver
		switch {
		case e.dropped == 0 && over:
			delete(d.episodes, reason)
		case e.dropped == 0:
		case !e.announced:
			e.announced = true
			level.Warn(d.logger).Log("msg", "Series are dropped because of a limit", "limit", reason, "samples", e.dropped, "worst", fmt.Sprint(e.worst()))
		case over:
			level.Info(d.logger).Log("msg", "No more series are dropped because of a limit", "limit", reason, "samples", e.dropped, "worst", fmt.Sprint(e.worst()))
			delete(d.episodes, reason)
		}
	}
}

func (e *episode) worst() []Offender {
	all := make([]Offender, 0, len(e.byTarget))
	for t, n := range e.byTarget {
		all = append(all, Offender{Job: t.job, Instance: t.instance, Dropped: n})
	}
	slices.SortFunc(all, func(a, b Offender) int {
		return cmp.Or(cmp.Compare(b.Dropped, a.Dropped), strings.Compare(a.Job, b.Job), strings.Compare(a.Instance, b.Instance))
	})
	return all[:min(len(all), worstOffenders)]
}

// now returns what was dropped in this run, and the worst targets of each reason
// for which something is being dropped now.
func (d *drops) now() (total map[string]uint64, worst map[string][]Offender) {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	worst = map[string][]Offender{}
	for reason, e := range d.episodes {
		if e.dropped > 0 {
			worst[reason] = e.worst()
		}
	}
	return maps.Clone(d.total), worst
}

// going reports whether there is an episode.
func (d *drops) going() bool {
	d.mtx.Lock()
	defer d.mtx.Unlock()
	return len(d.episodes) > 0
}
