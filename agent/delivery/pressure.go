package delivery

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
)

// liveHeap is what the last garbage collection could not free.
const liveHeap = "/gc/heap/live:bytes"

// pressed reports whether no more series may come into being, by the memory that
// is in use and its limit, in bytes. With more live than this the collector runs
// nearly all the time, and the kernel ends the process soon. Once pressed, it
// takes a good deal less to be so no more, or it would go to and fro.
func pressed(was bool, live, limit uint64) bool {
	if limit == math.MaxInt64 {
		return false
	}
	if was {
		return live > limit/100*60
	}
	return live > limit/100*75
}

// memoryInUse is the heap that lives, and GOMEMLIMIT, in bytes.
func memoryInUse() (live, limit uint64) {
	sample := []metrics.Sample{{Name: liveHeap}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		live = sample[0].Value.Uint64()
	}
	return live, uint64(debug.SetMemoryLimit(-1))
}
