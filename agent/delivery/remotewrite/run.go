package remotewrite

// content is what a time series holds of items. A receiver appends all floats
// of a time series before its histograms, and some the exemplars in between: a
// time series with two of them would go backwards in time, or name exemplars of
// a series that is not there yet.
type content uint8

const (
	floats content = iota
	histograms
	exemplars
)

func contentOf(k ItemKind) content {
	switch k {
	case FloatSample:
		return floats
	case Exemplar:
		return exemplars
	}
	return histograms
}

// firstRun splits items behind those at its beginning that have the same series
// and content.
func firstRun(items []Item) (run, rest []Item, c content) {
	c = contentOf(items[0].Kind)
	n := 1
	for n < len(items) && items[n].Series == items[0].Series && contentOf(items[n].Kind) == c {
		n++
	}
	return items[:n], items[n:], c
}
