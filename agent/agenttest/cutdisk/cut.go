// Package cutdisk is a disk for tests which remembers in what order it was written and
// flushed. From that it makes images of itself as a power cut at any moment leaves them:
// what was flushed is there; of what was written since, any part is or is not, in units
// of sectors, whatever was written first.
package cutdisk

import (
	"math/rand/v2"
	"time"
)

// sector is the unit that a disk writes whole or not at all, in bytes.
const sector = 512

// op is what the disk was asked for.
type op struct {
	at    time.Time
	flush bool // all that was written before it is to be durable
	off   int64
	data  []byte
}

// Manner is what a cut leaves of what was written since the last flush.
type Manner int

const (
	// Dropped: nothing.
	Dropped Manner = iota
	// Ordered: a beginning, of any length.
	Ordered
	// Reordered: some of the writes, each whole.
	Reordered
	// Torn: some sectors of some of the writes.
	Torn
	manners
)

// String returns the name of m for the log of a test.
func (m Manner) String() string {
	return [...]string{"dropped", "ordered", "reordered", "torn"}[m]
}

// Manners are all that there are.
func Manners() []Manner {
	all := make([]Manner, manners)
	for i := range all {
		all[i] = Manner(i)
	}
	return all
}

// cut writes onto image, which holds what was there before the first of ops, what a
// power cut leaves of them.
func cut(image []byte, ops []op, m Manner, rnd *rand.Rand) {
	durable := 0
	for i, o := range ops {
		if o.flush {
			durable = i
		}
	}
	for _, o := range ops[:durable] {
		copy(image[o.off:], o.data)
	}
	rest := ops[durable:]
	whole := rnd.IntN(len(rest) + 1)
	keep := rnd.Float64()
	for i, o := range rest {
		switch {
		case o.flush, m == Dropped, m == Ordered && i >= whole, m >= Reordered && rnd.Float64() >= keep:
		case m == Torn:
			tear(image[o.off:], o.data, rnd)
		default:
			copy(image[o.off:], o.data)
		}
	}
}

// tear writes some of the sectors of data, from some on or up to some.
func tear(image, data []byte, rnd *rand.Rand) {
	at := sector * rnd.IntN((len(data)+sector-1)/sector+1)
	at = min(at, len(data))
	if rnd.IntN(2) == 0 {
		copy(image, data[:at])
		return
	}
	copy(image[at:], data[at:])
}
