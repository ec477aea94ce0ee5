package selection

import (
	"github.com/prometheus/prometheus/model/histogram"

	"github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"
)

// Reasons why a destination does not get a sample, as the ledger names them.
const (
	Relabelled      = "relabelled"       // dropped by write_relabel_configs
	NativeHistogram = "native_histogram" // without send_native_histograms
	CustomBuckets   = "custom_buckets"   // remote write 1.0 cannot carry them
	TooOld          = "too_old"          // older than sample_age_limit, which the sender applies
)

// Remainder is what a destination does not get of the record that was read last.
type Remainder struct {
	// Unknown counts samples of series whose record is lost.
	Unknown uint64

	filtered map[string]uint64 // by reason; empty or nil when none is
}

// Filtered returns how many samples of the record the destination does not get, by
// reason; nil, as is usual, when it gets all. It is valid until the next record is
// read.
func (r *Remainder) Filtered() map[string]uint64 {
	if len(r.filtered) == 0 {
		return nil
	}
	return r.filtered
}

func (r *Remainder) reset() {
	r.Unknown = 0
	clear(r.filtered)
}

func (r *Remainder) samples() uint64 {
	n := r.Unknown
	for _, c := range r.filtered {
		n += c
	}
	return n
}

func (r *Remainder) filter(reason string) {
	if r.filtered == nil {
		r.filtered = map[string]uint64{}
	}
	r.filtered[reason]++
}

func (r *Remainder) takesHistogram(e *remotewrite.Endpoint, schema int32) bool {
	switch {
	case !e.Config.SendNativeHistograms:
		r.filter(NativeHistogram)
	case !e.V2 && schema == histogram.CustomBucketsSchema:
		r.filter(CustomBuckets)
	default:
		return true
	}
	return false
}
