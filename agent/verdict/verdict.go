// Package verdict says how an agent is: one judgement, which the page, the command
// status, systemd's status line, the log, the metrics and the alerts all show.
package verdict

import (
	"fmt"
	"slices"
	"time"
)

// Level is how bad something is.
type Level string

const (
	Good Level = "good"
	// Note: worth knowing, and nothing to do.
	Note Level = "note"
	// Unconfirmed: neither well nor bad, for a short time.
	Unconfirmed Level = "unconfirmed"
	// Warn: somebody should look.
	Warn Level = "warn"
	// Bad: samples are being lost, or will be.
	Bad Level = "bad"
)

var levels = []Level{Good, Note, Unconfirmed, Warn, Bad}

// rank orders levels, the worse the higher.
func (l Level) rank() int { return slices.Index(levels, l) }

// Well reports whether nobody needs to look.
func (l Level) Well() bool { return l.rank() <= Note.rank() }

// Problem is one thing that somebody should know.
type Problem struct {
	// Kind names it for machines; see Kinds.
	Kind  Kind  `json:"kind"`
	Level Level `json:"level"`
	// About is the destination, job or target, if it is one's.
	About string `json:"about,omitempty"`
	// Text is a sentence with the reason, in the words of whoever gave it, without
	// a full stop.
	Text string `json:"text"`
	// Hint says what can be done; empty where nothing needs to be, or it is plain.
	Hint string `json:"hint,omitempty"`
	// Since is when it was noticed, in this process.
	Since time.Time `json:"since"`
}

// Verdict is the judgement of an agent at one moment.
type Verdict struct {
	// Level is that of the worst problem; notes leave it good.
	Level Level `json:"level"`
	// Headline is the worst problem in its own words, and how many others there are.
	Headline string `json:"headline"`
	// Problems, the worst first.
	Problems []Problem `json:"problems"`
}

// well is the headline when nobody needs to look.
const well = "All is well"

// Judge finds everything that somebody should know.
func Judge(f Facts) Verdict {
	c := &collector{now: f.Now}
	c.start(f)
	c.disk(f.Storage)
	c.process(f)
	titles := f.titles()
	for _, d := range f.Destinations {
		d.title = titles[d.Name]
		c.destination(d, f)
	}
	c.configuration(f, titles)
	c.targets(f)
	slices.SortStableFunc(c.problems, func(a, b Problem) int { return b.Level.rank() - a.Level.rank() })
	v := Verdict{Level: Good, Headline: well, Problems: c.problems}
	if v.Problems == nil {
		v.Problems = []Problem{}
	}
	serious := 0
	for _, p := range v.Problems {
		if !p.Level.Well() {
			serious++
		}
	}
	if serious == 0 {
		return v
	}
	v.Level, v.Headline = v.Problems[0].Level, v.Problems[0].Text
	if serious > 1 {
		v.Headline += fmt.Sprintf(" (and %d more)", serious-1)
	}
	return v
}

// Key tells problems apart from one judgement to the next.
func (p Problem) Key() string { return string(p.Kind) + "\x00" + p.About }

// Kind is what a problem is about.
type Kind string

// OfDestination reports whether problems of this kind are about a destination.
func (k Kind) OfDestination() bool {
	switch k {
	case Unproven, NotDelivering, CatchingUp, Evicting, SeriesRefused, Refused, Uncertain, LostSamples, NotAppended, Rejected:
		return true
	}
	return false
}

// The kinds that there are. Their names do not change.
const (
	NotReady        Kind = "not_ready"
	Unwritable      Kind = "disk_unwritable"
	DiskFull        Kind = "disk_full"
	Unproven        Kind = "unconfirmed"
	NotDelivering   Kind = "not_delivering"
	CatchingUp      Kind = "catching_up"
	Evicting        Kind = "evicting"
	SeriesRefused   Kind = "series_refused"
	Refused         Kind = "refused"
	Uncertain       Kind = "uncertain"
	LostSamples     Kind = "lost"
	NotAppended     Kind = "not_appended"
	Rejected        Kind = "rejected"
	LimitReached    Kind = "limit"
	ShortOfMemory   Kind = "memory"
	ClockStep       Kind = "clock"
	LogMissing      Kind = "log_missing"
	Stalled         Kind = "stalled"
	UncleanEnd      Kind = "unclean_end"
	NoDestination   Kind = "no_destination"
	DestinationGone Kind = "destination_gone"
	JobStopped      Kind = "job_stopped"
	ReloadRefused   Kind = "reload_refused"
	FileDiffers     Kind = "file_differs"
	RestartNeeded   Kind = "restart_needed"
	TargetsDown     Kind = "targets_down"
	NoTargets       Kind = "no_targets"
)

// Kinds are all of them.
func Kinds() []Kind {
	return []Kind{
		NotReady, Unwritable, DiskFull, Unproven, NotDelivering, CatchingUp, Evicting, SeriesRefused, Refused, Uncertain, LostSamples, NotAppended,
		Rejected, LimitReached, ShortOfMemory, ClockStep, LogMissing, Stalled, UncleanEnd, NoDestination, DestinationGone, JobStopped,
		ReloadRefused, FileDiffers, RestartNeeded, TargetsDown, NoTargets,
	}
}
