package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/config"
)

// TestRetryIsToldOnce: a stopped job is tried again every few seconds. What keeps all
// of them from being tried is logged once in an episode.
func TestRetryIsToldOnce(t *testing.T) {
	t.Parallel()
	var logged strings.Builder
	a, err := New(Options{StoragePath: t.TempDir(), Logger: log.NewLogfmtLogger(&logged)})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{agent: a, stopped: []StoppedJob{{Job: "j"}}}
	// A configuration that was good when it was read, and whose parts are not any more.
	a.cfg = &config.Config{ScrapeConfigFiles: []string{"["}}
	last, want := "", 0
	for i, tc := range []struct {
		err  error
		told bool
	}{
		{r.retryStopped(), true},
		{r.retryStopped(), false},
		{errors.New("another"), true},
		{errors.New("another"), false},
		{nil, false},
		{errors.New("another"), true},
	} {
		if i < 2 && tc.err == nil {
			t.Fatal("the configuration can be prepared")
		}
		if last = r.tellRetry(tc.err, last); tc.told {
			want++
		}
		if n := strings.Count(logged.String(), "Cannot take up what was left out of the configuration"); n != want {
			t.Fatalf("step %d: %d lines instead of %d:\n%s", i, n, want, &logged)
		}
	}
}
