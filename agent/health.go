package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
)

// storageStatus tells of the disk, and of so many series.
func (r *run) storageStatus(series uint64) StorageStatus {
	u := r.store.Usage()
	return StorageStatus{
		Bytes:        u.TotalBytes,
		WALBytes:     u.WALBytes,
		BacklogBytes: u.BacklogBytes,
		MaxBytes:     u.MaxBytes,
		FreeBytes:    u.FreeBytes,
		MinFreeBytes: u.MinFreeBytes,
		Refusing:     r.store.Refusing(),
		Unwritable:   words(r.store.Unwritable()),
		Denied:       errors.Is(r.store.Unwritable(), fs.ErrPermission),
		ActiveSeries: series,
	}
}

// words returns an error in one line; empty for none.
func words(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// pace is the interval of the fastest target, and since when it is the fastest.
type pace struct {
	mtx     sync.Mutex
	fastest time.Duration
	since   time.Time
}

// changed notes the fastest interval of now, and returns since when it holds.
func (p *pace) changed(fastest time.Duration) time.Time {
	p.mtx.Lock()
	defer p.mtx.Unlock()
	if p.since.IsZero() || p.fastest != fastest {
		p.fastest, p.since = fastest, time.Now()
	}
	return p.since
}

// alive is for the watchdog. The scrape loops are alive when they commit: the
// fastest target's interval bounds how long nothing may come, but no silence
// from before there was such a target counts. Asking the scrape manager for its
// targets also proves that its lock is free.
func (r *run) alive(within time.Duration) error {
	errs := []error{r.delivery.Alive(within)}
	fastest := time.Duration(0)
	asked := make(chan time.Duration, 1)
	go func() {
		var fastest time.Duration
		for _, targets := range r.scrape.TargetsActive() {
			for _, t := range targets {
				d, err := model.ParseDuration(t.GetValue(model.ScrapeIntervalLabel))
				if err == nil && (fastest == 0 || time.Duration(d) < fastest) {
					fastest = time.Duration(d)
				}
			}
		}
		asked <- fastest
	}()
	select {
	case fastest = <-asked:
	case <-time.After(within):
		return errors.Join(append(errs, errors.New("the scrape manager does not answer"))...)
	}
	last := r.pace.changed(fastest)
	if commit := r.delivery.LastCommit(); commit.After(last) {
		last = commit
	}
	if silent := time.Since(last); fastest > 0 && silent > within+3*fastest {
		errs = append(errs, fmt.Errorf("no scrape has been committed for %s", silent.Round(time.Second)))
	}
	return errors.Join(errs...)
}
