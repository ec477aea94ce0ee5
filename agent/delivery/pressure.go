package delivery

import (
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
)

// liveHeap is what the last garbage collection could not free.
const liveHeap = "/gc/heap/live:bytes"

// Pressure says how near the memory's limit is, by what is done about it. Each
// stage does what those before it do, too.
type Pressure int

const (
	Relaxed Pressure = iota
	// ShedSeries: no more series come into being, but for those of small targets.
	ShedSeries
	// SmallBatches: requests from the backlog are smaller.
	SmallBatches
	// SkipScrapes: the largest targets are not scraped.
	SkipScrapes
)

// stages of memory pressure, with the parts of the limit that may live until a
// stage begins, and until it ends, in percent. With more live than the first the
// collector runs nearly all the time, and the kernel ends the process soon. A stage
// ends a good deal below its beginning, or it would go to and fro.
var stages = [...]struct {
	name       string
	begin, end uint64
	msg        string
}{
	Relaxed:      {"relaxed", 0, 0, "There is enough memory again"},
	ShedSeries:   {"shed_series", 75, 60, "The memory is nearly used up: new series are dropped, but for those of small targets"},
	SmallBatches: {"small_batches", 82, 68, "The memory is nearly used up: requests from the backlog are smaller as well"},
	SkipScrapes:  {"skip_scrapes", 90, 75, "The memory is nearly used up: the largest targets are not scraped either"},
}

func (p Pressure) String() string { return stages[p].name }

// nextPressure returns the stage that follows from the heap that lives and the
// memory limit, in bytes; math.MaxInt64 means that there is none.
func nextPressure(was Pressure, live, limit uint64) Pressure {
	if limit == math.MaxInt64 {
		return Relaxed
	}
	for p := SkipScrapes; p > Relaxed; p-- {
		percent := stages[p].begin
		if was >= p {
			percent = stages[p].end
		}
		if live > limit/100*percent {
			return p
		}
	}
	return Relaxed
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

// memory is the stage of pressure, and how long each has lasted.
type memory struct {
	logger log.Logger
	// inUse is memoryInUse, but in tests.
	inUse func() (live, limit uint64)

	changed chan struct{} // has something when the stage has

	mtx   sync.Mutex
	stage Pressure
	since time.Time // the last look
	spent [len(stages)]time.Duration
}

func newMemory(logger log.Logger, inUse func() (live, limit uint64)) *memory {
	return &memory{logger: logger, inUse: inUse, changed: make(chan struct{}, 1)}
}

// look is called every second.
func (m *memory) look(now time.Time) {
	live, limit := m.inUse()
	m.set(nextPressure(m.now(), live, limit), now, live, limit)
}

func (m *memory) set(stage Pressure, now time.Time, live, limit uint64) {
	m.mtx.Lock()
	was := m.stage
	if !m.since.IsZero() {
		m.spent[was] += now.Sub(m.since)
	}
	m.stage, m.since = stage, now
	m.mtx.Unlock()
	if stage != was {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	switch {
	case stage > was:
		level.Warn(m.logger).Log("msg", stages[stage].msg, "live_bytes", live, "limit_bytes", limit)
	case stage < was && stage == Relaxed:
		level.Info(m.logger).Log("msg", stages[stage].msg, "live_bytes", live, "limit_bytes", limit)
	}
}

func (m *memory) now() Pressure {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	return m.stage
}

// lasted returns for how many seconds each stage but the first has been in force in
// this run, by its name.
func (m *memory) lasted() map[string]float64 {
	m.mtx.Lock()
	defer m.mtx.Unlock()
	seconds := map[string]float64{}
	for p := ShedSeries; p <= SkipScrapes; p++ {
		seconds[p.String()] = m.spent[p].Seconds()
	}
	return seconds
}

// batchDivisor is by how much batches are smaller when memory is short.
const batchDivisor = 8

// shrunk returns what of a batch of n, of whatever unit, the memory is there for.
func (m *memory) shrunk(n int) int {
	if m.now() < SmallBatches {
		return n
	}
	return max(1, n/batchDivisor)
}
