package agenttest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWire: a request that is cut off is not stored, one whose answer is cut off is, and
// afterwards all passes as before.
func TestWire(t *testing.T) {
	for name, o := range map[string]Options{"https": {}, "http": {PlainHTTP: true}} {
		t.Run(name, func(t *testing.T) {
			e := startEndpoint(t, o)
			e.SetWire(Wire{Request: 100})
			require.Error(t, newSender(t, e).write(ts("a", 1, 1)))
			require.Zero(t, e.Snapshot().Accepted)
			e.SetWire(Wire{})
			sender := newSender(t, e)
			require.NoError(t, sender.write(ts("a", 2, 1)))
			e.SetWire(Wire{Answer: 1})
			require.Error(t, sender.write(ts("a", 3, 1)))
			e.SetWire(Wire{})
			require.NoError(t, sender.write(ts("a", 4, 1)))
			require.Equal(t, []float64{2, 1, 3, 1, 4, 1}, floats(t, e.Snapshot(), "a"))
		})
	}
}
