package agent

import (
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
)

func TestLongestAnswer(t *testing.T) {
	t.Parallel()
	timeout := func(d time.Duration) *config.ScrapeConfig {
		return &config.ScrapeConfig{ScrapeTimeout: model.Duration(d)}
	}
	if got := longestAnswer([]*config.ScrapeConfig{timeout(time.Second), timeout(time.Minute)}); got != answerTime {
		t.Errorf("%s with usual timeouts", got)
	}
	if got := longestAnswer([]*config.ScrapeConfig{timeout(time.Hour), timeout(time.Second)}); got <= time.Hour {
		t.Errorf("%s with a timeout of an hour", got)
	}
}
