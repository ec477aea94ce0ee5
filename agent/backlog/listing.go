package backlog

import (
	"os"
	"time"
)

const (
	// listAgain is how long a listing is relied on at the most: where the time of a
	// directory tells nothing, what changed there is found then.
	listAgain = time.Minute
	// timeResolution is more than any file system rounds its times to: within it, a
	// change may leave no trace.
	timeResolution = 3 * time.Second
)

// listing remembers when a directory was listed, so that it need not be listed again
// before its entries change.
type listing struct {
	modified time.Time // of the directory then; zero: not to be relied on
	at       time.Time
}

// begin is called before the directory is listed: what changes meanwhile shows later.
func (l *listing) begin(dir string) {
	*l = listing{at: time.Now()}
	if fi, err := os.Stat(dir); err == nil && time.Since(fi.ModTime()) > timeResolution {
		l.modified = fi.ModTime()
	}
}

// holds reports whether the directory has the entries that it had when it was listed.
func (l *listing) holds(dir string) bool {
	if l.modified.IsZero() || time.Since(l.at) >= listAgain {
		return false
	}
	fi, err := os.Stat(dir)
	return err == nil && fi.ModTime().Equal(l.modified)
}
