package selection

import "github.com/prometheus/prometheus/model/histogram"

// Reasons why a destination does not get a sample, as the ledger names them.
const (
	Relabelled      = "relabelled"       // dropped by write_relabel_configs
	NativeHistogram = "native_histogram" // without send_native_histograms
	CustomBuckets   = "custom_buckets"   // remote write 1.0 cannot carry them
	TooOld          = "too_old"          // older than sample_age_limit, which the sender applies
)

// Filtered returns how many samples of the record that Read has got last the
// destination does not get, by reason; nil, as is usual, when it gets all. Like
// Items it is valid until the next call of Read.
func (s *Selector) Filtered() map[string]uint64 {
	if len(s.filtered) == 0 {
		return nil
	}
	return s.filtered
}

func (s *Selector) filter(reason string) {
	if s.filtered == nil {
		s.filtered = map[string]uint64{}
	}
	s.filtered[reason]++
}

func (s *Selector) takesHistogram(schema int32) bool {
	switch {
	case !s.endpoint.Config.SendNativeHistograms:
		s.filter(NativeHistogram)
	case !s.endpoint.V2 && schema == histogram.CustomBucketsSchema:
		s.filter(CustomBuckets)
	default:
		return true
	}
	return false
}
