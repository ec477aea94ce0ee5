// Package limits says how much one target may take, so that it cannot take the
// process, and with it all the others. What nobody sets follows from the memory
// that there is.
package limits

import (
	"fmt"
	"math"
	"runtime/debug"

	"github.com/alecthomas/units"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
)

// Limits of what is scraped. In the Limits of a user, 0 means that the value
// follows from the memory.
type Limits struct {
	// MaxSeries is how many series there may be in all; above it, new ones are
	// dropped. 0 where the memory is not known either: no ceiling.
	MaxSeries uint64
	// BodySize is what a scrape may answer, in bytes after decompression, where
	// the configuration file has no body_size_limit.
	BodySize int64
	// LabelLength is the longest name or value of a label, in bytes.
	LabelLength int
	// Labels is how many a series may have.
	Labels int
}

const (
	// baseMemory is what the agent takes without any series, in bytes.
	baseMemory = 32 << 20
	// seriesMemory is what a series takes in the scrape cache, the WAL's storage
	// and the queues, with what the garbage collector needs beside it. It is
	// about three times of what is measured on a quiet host.
	seriesMemory = 4 << 10
	// minSeries is taken on the smallest host: two node exporters.
	minSeries = 2000

	// bodyShare of the memory is what one answer may have: while it grows it
	// takes up to three times as much, and several may come at once.
	bodyShare   = 16
	minBodySize = 1 << 20
	// SafeBodySize is the largest answer that cannot end the process. Upstream's
	// parser panics, beyond any recovery, when a label has more than 16 MiB, and
	// the label may become a little longer by "exported_" in front of its name.
	SafeBodySize = 15 << 20

	labelLength = 16 << 10
	maxLabels   = 256
)

// From returns the limits for a process that may use so many bytes of memory; 0
// or less and math.MaxInt64 mean that this is not known.
func From(memory int64) Limits {
	l := Limits{BodySize: SafeBodySize, LabelLength: labelLength, Labels: maxLabels}
	if memory <= 0 || memory == math.MaxInt64 {
		return l
	}
	l.MaxSeries = uint64(max(minSeries, (memory-baseMemory)/seriesMemory))
	l.BodySize = min(max(minBodySize, memory/bodyShare), SafeBodySize)
	return l
}

// Memory returns what the process may use, in bytes, by GOMEMLIMIT;
// math.MaxInt64 when there is no such limit.
func Memory() int64 { return debug.SetMemoryLimit(-1) }

// Or returns l with what it does not set taken from d.
func (l Limits) Or(d Limits) Limits {
	if l.MaxSeries == 0 {
		l.MaxSeries = d.MaxSeries
	}
	if l.BodySize == 0 {
		l.BodySize = d.BodySize
	}
	if l.LabelLength == 0 {
		l.LabelLength = d.LabelLength
	}
	if l.Labels == 0 {
		l.Labels = d.Labels
	}
	return l
}

// AnyHost is the number of samples that a target may have on the smallest host, and
// when the memory is nearly used up, whatever the ceiling: a node exporter.
const AnyHost = 500

// SmallTarget is the number of samples up to which a target does not need to give
// way; maxSeries is 0 where there is no ceiling.
func SmallTarget(maxSeries uint64) uint64 {
	if maxSeries == 0 {
		return AnyHost
	}
	return max(1, maxSeries/16)
}

// Ceiling is the number of series above which none comes into being, for a target
// that is small, or is not. The last quarter is for the small: else one that is far
// too large would leave nothing to the others whenever it comes first, as after a
// start.
func Ceiling(maxSeries uint64, small bool) uint64 {
	if small {
		return maxSeries
	}
	return maxSeries - maxSeries/4
}

// Room is how many of wanted new series a target gets where there are taken ones
// already.
func Room(maxSeries, taken, wanted uint64) uint64 {
	if maxSeries == 0 {
		return wanted
	}
	upTo := func(ceiling, wanted uint64) uint64 { return min(wanted, ceiling-min(ceiling, taken)) }
	small := SmallTarget(maxSeries)
	got := upTo(Ceiling(maxSeries, true), min(wanted, small))
	taken += got
	if wanted > small {
		got += upTo(Ceiling(maxSeries, false), wanted-small)
	}
	return got
}

// Reasons for which Refuse refuses a series.
const (
	TooLong = "label_too_long"
	TooMany = "too_many_labels"
)

// Refuse returns the reason for which a series with these labels is not taken,
// whatever there is room for; "" if there is none.
func (l Limits) Refuse(ls labels.Labels) string {
	reason, count := "", 0
	ls.Range(func(pair labels.Label) {
		count++
		if len(pair.Name) > l.LabelLength || len(pair.Value) > l.LabelLength {
			reason = TooLong
		}
	})
	if reason == "" && count > l.Labels {
		reason = TooMany
	}
	return reason
}

// Configure sets the limits of answers in cfg where the file sets none, and
// returns a warning for each job that may end the process. The jobs of
// scrape_config_files are read later, and inherit the global limit.
func (l Limits) Configure(cfg *config.Config) (warnings []string) {
	if cfg.GlobalConfig.BodySizeLimit <= 0 {
		cfg.GlobalConfig.BodySizeLimit = units.Base2Bytes(l.BodySize)
	}
	for _, s := range cfg.ScrapeConfigs {
		if s.BodySizeLimit <= 0 {
			s.BodySizeLimit = cfg.GlobalConfig.BodySizeLimit
		}
		if s.BodySizeLimit > SafeBodySize {
			warnings = append(warnings, fmt.Sprintf("body_size_limit of job %q is %s: above %s a target can end the agent by a single label",
				s.JobName, s.BodySizeLimit, units.Base2Bytes(SafeBodySize)))
		}
	}
	return warnings
}
