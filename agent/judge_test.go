package agent

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// TestProblemsInTheLog: each is logged once, with its hint where it has one.
func TestProblemsInTheLog(t *testing.T) {
	var out bytes.Buffer
	j := &judge{logger: log.NewLogfmtLogger(&out)}
	s := Status{Verdict: verdict.Verdict{Problems: []verdict.Problem{
		{Kind: verdict.CatchingUp, Level: verdict.Warn, About: "a", Text: "behind"},
		{Kind: verdict.TargetsDown, Level: verdict.Warn, Text: "down", Hint: "look"},
	}}}
	j.note(time.Now(), s)
	j.note(time.Now(), s)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || strings.Contains(lines[0], "hint") || !strings.HasSuffix(lines[1], " hint=look") {
		t.Errorf("got\n%s", out.String())
	}
}
