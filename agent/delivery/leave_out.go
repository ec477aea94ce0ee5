package delivery

import (
	"context"
	"time"

	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// leaveOut takes the samples of unwanted series out of a batch in the order of the
// WAL, and enters them in o as refused. It asks about one of these series again, if
// one is due, with a request of its own: the others need not wait, nor be refused
// for it.
func (d *sender) leaveOut(ctx context.Context, items []remotewrite.Item, was earlier, o *ledger.Outcome) ([]remotewrite.Item, error) {
	now := time.Now()
	d.unwanted.expire(now)
	if len(d.unwanted.series) == 0 {
		return items, nil
	}
	items, out := d.unwanted.sift(items, now)
	for reason, n := range out.refused {
		o.Refuse(reason, n)
	}
	n := remotewrite.Samples(out.items)
	if n == 0 {
		return items, nil
	}
	if err := d.leaveOrder(ctx, d.end); err != nil {
		return nil, err
	}
	r, err := d.sendUntilAnswered(ctx, remotewrite.Group(out.items))
	switch {
	case err != nil:
		return nil, err
	case r == nil || n == 1 && (was.resent || r.Again) && remotewrite.AlreadyThere(r.Body):
		level.Info(d.logger).Log("msg", "The endpoint takes a series again that it refused", "series", shorten(out.due.labels.String()))
		d.unwanted.forgetAll()
		if r == nil || was.resent && !was.refused && !anyOvertaken(out.items, d.end.Generation, *d.overtaken.Load()) {
			o.Delivered += n
		} else {
			o.Doubt(remotewrite.OutOfOrder, n)
		}
	case remotewrite.AboutSeries(r.Body) && r.Class() == remotewrite.Final:
		out.due.asked, out.due.words = now, r.Body
		o.Refuse(out.due.reason, n)
	case r.Class() != remotewrite.Final, was.resent && remotewrite.AlreadyThere(r.Body):
		// Too large, not held, or there in part: it takes the usual way.
		d.unwanted.forget(out.due)
		items = append(items, out.items...)
	default: // refused for something else now, and perhaps in part
		d.unwanted.forget(out.due)
		if reason := remotewrite.Reason(r.Status, r.Error()); n == 1 {
			o.Refuse(reason, n)
		} else {
			o.Doubt(reason, n)
		}
	}
	return items, nil
}

// learnUnwanted remembers which series a batch that is done with was refused for.
// Where nothing of it was taken, the endpoint may refuse everything with such words.
func (d *sender) learnUnwanted(s *search) {
	now := time.Now()
	if s.series {
		d.unwanted.met = now
	}
	if s.taken {
		first := len(d.unwanted.series) == 0
		for i, series := range s.unwanted {
			if first && i == 0 {
				level.Warn(d.logger).Log("msg", "The endpoint refuses series for what they are, leaving them out", "series", shorten(series.labels.String()), "err", series.words)
			}
			d.unwanted.note(series, now)
		}
	}
	d.mtx.Lock()
	d.leftOut, d.whyLeftOut = len(d.unwanted.series), d.unwanted.why()
	d.mtx.Unlock()
}
