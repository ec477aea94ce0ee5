package upstreamqueue

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	config_util "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/config"
)

// TestContractWords: a token that was renewed is no failure in the log, and a batch that
// is refused is not said to be lost, by upstream's real queue.
func TestContractWords(t *testing.T) {
	r, e := newRig(t), newReceiver(t)
	var log lines
	r.opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	entry := func(token string) *config.RemoteWriteConfig {
		return e.entry(t, "one", func(c *config.RemoteWriteConfig) {
			c.HTTPClientConfig.Authorization = &config_util.Authorization{Type: "Bearer", Credentials: config_util.Secret(token)}
		})
	}
	var w watch
	var now atomic.Pointer[config.RemoteWriteConfig]
	now.Store(entry("first"))
	o := w.observer()
	o.Entry = func(context.Context) (*config.RemoteWriteConfig, error) { return now.Load(), nil }
	u := r.start(now.Load(), o)
	_, after := u.StartBounds()
	now.Store(entry("second"))
	r.append(item{"a", after + 1, 1})
	r.await("the sample", func() bool { return w.acknowledged() == 1 })
	log.want(t, 1, "level=DEBUG", batchRetried, errTaken.Error())
	log.want(t, 0, "level=WARN")

	e.answer(http.StatusUnauthorized)
	r.append(item{"a", after + 2, 1})
	r.await("what is said of the refused batch", func() bool { return log.count("HTTP status 401") > 0 })
	log.want(t, 1, "level=INFO", "the ledger tells what becomes of it", " samples=1 ", "HTTP status 401")
	log.want(t, 0, batchEnded)
	log.want(t, 0, "level=ERROR")
}

// lines are a log.
type lines struct {
	mtx  sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	return l.text.Write(p)
}

// count counts the lines that have all words.
func (l *lines) count(words ...string) (n int) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	for line := range strings.Lines(l.text.String()) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		if has {
			n++
		}
	}
	return n
}

func (l *lines) want(t *testing.T, n int, words ...string) {
	t.Helper()
	if got := l.count(words...); got != n {
		t.Errorf("%d lines with %q, want %d:\n%s", got, words, n, l.text.String())
	}
}
