package delivery

import "github.com/opstrace/opstrace-agent/agent/delivery/selection"

// share is how a record is shared out between the queue and the follower.
type share struct {
	queued int // items that the queue sends
	late   int // samples that the follower sends
	both   int // of late: perhaps sent by the queue as well
}

// shareOut shares out the record that was read last, where the queue sends nothing up to
// one time, in milliseconds, and all behind another.
func shareOut(o *selection.Outline, notSentUpTo, sentIfAfter int64) share {
	s := share{queued: o.Exemplars}
	for _, t := range o.Times {
		if t > notSentUpTo {
			s.queued++
		}
		if t > sentIfAfter {
			continue
		}
		s.late++
		if t > notSentUpTo {
			s.both++
		}
	}
	return s
}
