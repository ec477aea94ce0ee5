package backlog

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadWhileWriting(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	c := newConsumer(t, r.s, Position{})
	require.False(t, c.next())
	for ts := range int64(200) {
		r.append(0, 50, ts)
		changed := r.s.Changed()
		c.drain()
		require.Equal(t, r.s.End(), c.r.Position())
		select {
		case <-changed:
			t.Fatal("nothing was written")
		default:
		}
	}
	require.Greater(t, r.s.End().Segment, 3)
	c.requireAll(r.model)
	require.Empty(t, c.events)
	require.Zero(t, c.context)
}

func TestReadFromAnyRecord(t *testing.T) {
	r := openRun(t, t.TempDir(), runOptions{})
	for ts := range int64(200) {
		r.append(int(ts/10)*20, int(ts/10)*20+40, ts) // new series in every segment
	}
	var at []Position
	var n []int
	whole := newConsumer(t, r.s, Position{})
	for whole.next() {
		at, n = append(at, whole.pos), append(n, len(whole.samples))
	}
	require.Greater(t, r.s.End().Segment, 2)
	for i := 0; i < len(at); i += 7 {
		c := newConsumer(t, r.s, at[i]).drain()
		c.requireAll(r.model[n[i]:])
		require.Empty(t, c.events)
		counts, err := r.s.Count(at[i], r.s.End())
		require.NoError(t, err)
		require.Equal(t, c.counts, counts)
	}
}

func TestReadAcrossRuns(t *testing.T) {
	dir := t.TempDir()
	var model []sample
	for n := range 4 {
		r := openRun(t, dir, runOptions{})
		require.Equal(t, n+1, r.s.Generation())
		for ts := range int64(40) {
			// Other series get the same references.
			r.append(n*100, n*100+30, 1000*int64(n)+ts)
		}
		model = append(model, r.model...)
		if n%2 == 0 {
			dir = r.kill()
		} else {
			r.close()
		}
	}
	s := openStore(t, dir, Options{})
	require.Equal(t, 5, s.Generation())
	c := newConsumer(t, s, Position{}).drain()
	c.requireAll(model)
	require.Equal(t, []Kind{Generation, Generation, Generation, Generation}, c.kinds())
	require.Equal(t, Position{Generation: 5}, c.r.Position())
	require.Equal(t, s.End(), c.r.Position())
}
