package remotewrite

import (
	"cmp"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// Group orders items by series, in place, and returns them: the series in the
// order of their first items; of each first the samples, then the exemplars,
// ascending in time, and as they came where the time is the same. Series with
// the same labels are one: relabelling can make one of several, and an endpoint
// refuses or loses what does not ascend.
func Group(items []Item) []Item {
	if len(items) < 2 {
		return items
	}
	places, starts := placesOf(items)
	for i := range items {
		for int(places[i]) != i {
			j := places[i]
			items[i], items[j] = items[j], items[i]
			places[i], places[j] = places[j], places[i]
		}
	}
	for i, from := range starts {
		to := len(items)
		if i+1 < len(starts) {
			to = int(starts[i+1])
		}
		if part := items[from:to]; !slices.IsSortedFunc(part, byTime) {
			slices.SortStableFunc(part, byTime)
		}
	}
	return items
}

func byTime(a, b Item) int { return cmp.Compare(a.T, b.T) }

// placesOf returns where each item goes, and where the parts of the result
// begin: for each series its samples and its exemplars, either may be empty.
func placesOf(items []Item) (places, starts []int32) {
	places = make([]int32, len(items))
	var (
		numbers  = numbering{bySeries: map[*Series]int32{}, byHash: map[uint64]*Series{}}
		previous *Series
		number   int32
	)
	for i := range items {
		if s := items[i].Series; s != previous {
			previous, number = s, numbers.of(s)
		}
		part := 2 * number
		if items[i].Kind == Exemplar {
			part++
		}
		places[i] = part
	}
	counts := make([]int32, 2*numbers.next)
	for _, part := range places {
		counts[part]++
	}
	starts = make([]int32, len(counts))
	for part := 1; part < len(starts); part++ {
		starts[part] = starts[part-1] + counts[part-1]
	}
	free := counts
	copy(free, starts)
	for i, part := range places {
		places[i] = free[part]
		free[part]++
	}
	return places, starts
}

// numbering numbers series by their labels, from 0 on, in the order in which
// they are asked for.
type numbering struct {
	bySeries map[*Series]int32
	byHash   map[uint64]*Series
	next     int32
}

func (n *numbering) of(s *Series) int32 {
	if number, known := n.bySeries[s]; known {
		return number
	}
	hash := s.Labels.Hash()
	number := n.next
	if twin, found := n.byHash[hash]; found && labels.Equal(twin.Labels, s.Labels) {
		number = n.bySeries[twin]
	} else {
		n.byHash[hash] = s
		n.next++
	}
	n.bySeries[s] = number
	return number
}
