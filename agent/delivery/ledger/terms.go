package ledger

import "maps"

// Terms account for every sample (float or native histogram) that was appended
// since a destination came into being. The names in JSON are those of
// delivery.json and of the HTTP API.
type Terms struct {
	// Appended to the WAL, counted at commit. It equals Sum, always.
	Appended uint64 `json:"appended"`
	// Delivered: acknowledged by the endpoint, or already there.
	Delivered uint64 `json:"delivered"`
	// Refused for good by the endpoint, by reason.
	Refused map[string]uint64 `json:"refused"`
	// Filtered by the configuration: relabelling, native histograms that the
	// destination does not take, sample age limit; by reason.
	Filtered map[string]uint64 `json:"filtered"`
	// Uncertain: the endpoint's answer does not tell what became of them; by reason.
	Uncertain map[string]uint64 `json:"uncertain"`
	// Evicted from disk, unsent, to keep the budget.
	Evicted uint64 `json:"evicted"`
	// Lost: appended, and not found on disk when it was read: a power cut, a commit
	// that failed, a damaged or a removed file. Known when a generation has been read to its
	// end, until then they are in OnDisk.
	Lost uint64 `json:"lost"`
	// NotAppended: refused before the WAL because the disk was full. Not part
	// of Appended.
	NotAppended uint64 `json:"notAppended"`
	// Rejected by the agent's own storage before the WAL, by reason: out of order,
	// a duplicate, too old. Not part of Appended.
	Rejected map[string]uint64 `json:"rejected,omitempty"`
	// OnDisk: not yet acknowledged; with the few that are in memory only,
	// because they were evicted while they were being sent.
	OnDisk uint64 `json:"onDisk"`
	// DamagedBytes of the WAL that could not be read. Not part of Appended: what
	// was in them in samples is Lost.
	DamagedBytes uint64 `json:"damagedBytes"`
	// LostStretches of the WAL were damaged or missing. Not part of Appended.
	LostStretches uint64 `json:"lostStretches"`
}

// Sum returns the samples of all terms that make up Appended.
func (t Terms) Sum() uint64 { return t.settled() + t.OnDisk }

// settled is what is neither on disk nor in memory any more.
func (t Terms) settled() uint64 {
	return t.Delivered + Total(t.Refused) + Total(t.Filtered) + Total(t.Uncertain) + t.Evicted + t.Lost
}

func (t Terms) clone() Terms {
	t.Refused = maps.Clone(t.Refused)
	t.Filtered = maps.Clone(t.Filtered)
	t.Uncertain = maps.Clone(t.Uncertain)
	t.Rejected = maps.Clone(t.Rejected)
	return t
}

// enter moves the samples of o into the terms.
func (t *Terms) enter(o Outcome) {
	t.Delivered += o.Delivered
	t.DamagedBytes += o.DamagedBytes
	t.LostStretches += o.LostStretches
	merge(&t.Refused, o.Refused)
	merge(&t.Filtered, o.Filtered)
	merge(&t.Uncertain, o.Uncertain)
}

// Outcome is what became of the samples of a stretch of the WAL. The zero value
// is ready for use.
type Outcome struct {
	Delivered                    uint64
	Refused, Uncertain, Filtered map[string]uint64 // by reason
	DamagedBytes, LostStretches  uint64            // no samples
}

// Refuse counts n samples that the endpoint refused for good.
func (o *Outcome) Refuse(reason string, n uint64) { add(&o.Refused, reason, n) }

// Doubt counts n samples of which nobody can say what became of them.
func (o *Outcome) Doubt(reason string, n uint64) { add(&o.Uncertain, reason, n) }

// Filter counts n samples that the configuration keeps from the destination.
func (o *Outcome) Filter(reason string, n uint64) { add(&o.Filtered, reason, n) }

// Merge adds m to o, and keeps nothing of m.
func (o *Outcome) Merge(m Outcome) {
	o.Delivered += m.Delivered
	o.DamagedBytes += m.DamagedBytes
	o.LostStretches += m.LostStretches
	merge(&o.Refused, m.Refused)
	merge(&o.Uncertain, m.Uncertain)
	merge(&o.Filtered, m.Filtered)
}

// Total returns the number of samples.
func (o *Outcome) Total() uint64 {
	return o.Delivered + Total(o.Refused) + Total(o.Uncertain) + Total(o.Filtered)
}

// add counts n samples under a reason. A reason without samples leaves no entry.
func add(m *map[string]uint64, reason string, n uint64) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = map[string]uint64{}
	}
	(*m)[reason] += n
}

func merge(m *map[string]uint64, other map[string]uint64) {
	for reason, n := range other {
		add(m, reason, n)
	}
}

// Total sums the samples of a term over its reasons.
func Total(m map[string]uint64) (sum uint64) {
	for _, n := range m {
		sum += n
	}
	return sum
}
