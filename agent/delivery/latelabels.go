package delivery

import (
	"fmt"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/tsdb/record"

	"github.com/opstrace/opstrace-agent/agent/backlog"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
	"github.com/opstrace/opstrace-agent/agent/delivery/selection"
)

// As a rule labels are needed only for the scrapes that were under way at the hand-over,
// and are not kept for long. To fetch them costs as much as a reader has to read before it
// begins: where they are needed now and then, they are kept ever longer.
const (
	keepLonger = 4
	keepMost   = 2 * time.Hour
)

// lateLabels fetches late samples with their labels, and keeps these while there are more.
type lateLabels struct {
	t *destination
	e *remotewrite.Endpoint

	selection *selection.Selector // nil: no labels are kept
	keep      time.Duration       // for how long they are, from used on
	used      time.Time
}

// prepared reports whether labels are kept.
func (l *lateLabels) prepared() bool { return l.selection != nil }

// prepare begins to keep labels. The series are to be read again.
func (l *lateLabels) prepare() {
	l.selection = selection.New(l.e, l.t.slogger)
	l.used = time.Now()
}

// reopened is called when the series are about to be read again.
func (l *lateLabels) reopened() {
	if l.prepared() {
		l.selection.Forget()
	}
}

// of returns the n samples of a record that are dated up to a time, in milliseconds,
// valid until the next record. Without labels there must be none.
func (l *lateLabels) of(rec *backlog.Record, n int, upTo int64) ([]remotewrite.Item, error) {
	if !l.prepared() || n == 0 && rec.Type != record.Series && rec.Type != record.Metadata {
		return nil, nil
	}
	if err := l.selection.Read(rec); err != nil || n == 0 {
		return nil, err
	}
	l.used = time.Now()
	items := make([]remotewrite.Item, 0, n)
	for _, it := range l.selection.Items {
		if it.Kind != remotewrite.Exemplar && it.T <= upTo {
			items = append(items, it)
		}
	}
	if len(items) != n { // else the ledger would take for delivered what nobody sends
		return nil, fmt.Errorf("at %s: of %d late samples, %d can be sent", rec.Pos, n, len(items))
	}
	return items, nil
}

// rest gives the labels up when they have not been needed for long.
func (l *lateLabels) rest(now time.Time) {
	if l.prepared() && now.Sub(l.used) >= l.keep {
		level.Debug(l.t.logger).Log("msg", "Gives the labels up that late samples needed", "after", now.Sub(l.used))
		l.selection = nil
		l.keep = min(l.keep*keepLonger, keepMost)
	}
}
