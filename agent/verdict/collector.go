package verdict

import (
	"fmt"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// maxText is how many characters of a problem are shown: an endpoint may answer with
// a page.
const maxText = 400

// collector gathers problems.
type collector struct {
	now      time.Time
	problems []Problem
}

func (c *collector) add(kind Kind, level Level, about, hint, format string, args ...any) {
	text := redact.Line(redact.Text(fmt.Sprintf(format, args...)), maxText)
	c.problems = append(c.problems, Problem{
		Kind: kind, Level: level, About: about, Text: strings.TrimRight(text, ". "), Hint: hint, Since: c.now,
	})
}
