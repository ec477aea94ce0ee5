package backlog

import (
	"sync"
	"time"

	"github.com/go-kit/log"
)

// damageLog counts a damaged file once, however many readers come across it.
type damageLog struct {
	metrics *metrics
	mu      sync.Mutex // a leaf: nothing is locked, and nobody called, under it
	noted   map[string]struct{}
}

func newDamageLog(m *metrics) *damageLog {
	return &damageLog{metrics: m, noted: map[string]struct{}{}}
}

// note counts damage that costs a number of bytes, negative if that is unknown, and
// reports whether it is news.
func (d *damageLog) note(name string, lost int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.noted[name]; ok {
		return false
	}
	d.noted[name] = struct{}{}
	d.metrics.damaged.Inc()
	d.metrics.damagedBytes.Add(float64(max(lost, 0)))
	return true
}

// logLimiter keeps what happens several times a second from filling the log: it
// appears once a minute.
type logLimiter struct {
	mu   sync.Mutex // a leaf
	last map[string]time.Time
}

const logEvery = time.Minute

// allow reports whether a key has not been allowed within the last minute.
func (l *logLimiter) allow(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, ok := l.last[key]; ok && now.Sub(last) < logEvery {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[key] = now
	return true
}

func (l *logLimiter) log(logger log.Logger, msg string, err error) {
	if l.allow(msg) {
		logger.Log("msg", msg, "err", err)
	}
}
