package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-kit/log/level"
)

// Errors of Forget.
var (
	ErrConfigured = errors.New("the configuration still names it")
	ErrNotKept    = errors.New("nothing is kept under this name")
)

// Forget drops what is kept for a destination that is gone from the configuration,
// and returns how many samples that were. Errors are ErrConfigured and ErrNotKept,
// and those of a Delivery that is closed.
func (d *Delivery) Forget(name string) (samples uint64, err error) {
	d.applyMtx.Lock()
	defer d.applyMtx.Unlock()
	if err := d.ctx.Err(); err != nil {
		return 0, err
	}
	d.mtx.Lock()
	_, configured := d.destinations[name]
	d.mtx.Unlock()
	if configured {
		return 0, fmt.Errorf("destination %q: %w", name, ErrConfigured)
	}
	samples, was := d.forget(name, "as asked for")
	if !was {
		return 0, fmt.Errorf("destination %q: %w", name, ErrNotKept)
	}
	d.afterForgetting()
	return samples, nil
}

// forgetExpired drops what has been kept for long enough.
func (d *Delivery) forgetExpired(now time.Time) {
	forgot := false
	for _, name := range d.gone.names() {
		if a, is := d.gone.of(name); is && a.lasted(now) >= d.opts.ForgetAfter {
			_, was := d.forget(name, "kept for as long as --storage.forget-after says")
			forgot = forgot || was
		}
	}
	if forgot {
		d.afterForgetting()
	}
}

// forget closes the account of a destination that is gone. What only it needed is
// released with the marks that are written next.
func (d *Delivery) forget(name, why string) (samples uint64, was bool) {
	d.marks.mtx.Lock()
	defer d.marks.mtx.Unlock()
	a, was := d.gone.end(name)
	if !was {
		return 0, false // back, or forgotten by another
	}
	samples = d.book.Remove(name).Terms.OnDisk
	d.marks.forgotten.Add(samples)
	level.Warn(d.logger).Log("msg", "Forgot a destination that was gone from the configuration, and dropped what was kept for it", "destination", name, "samples", samples, "gone_since", a.since.UTC().Format(time.RFC3339), "reason", why)
	return samples, true
}

func (d *Delivery) afterForgetting() {
	if err := d.marks.saveAndRelease(false); err != nil {
		level.Error(d.logger).Log("msg", "Cannot save the marks", "err", err)
	}
}
