package backlog

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
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

// Upstream fills up a page that has no room for another header. The position must
// still meet the end of the WAL, or a drainer would never be there.
func TestPositionIncludesPadding(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	w, err := wlog.NewSize(nil, nil, s.inv.walDir, 4*page, compression.None)
	require.NoError(t, err)
	const header = 7
	require.NoError(t, w.Log(make([]byte, page-header-3)))
	require.Equal(t, Position{1, 0, page}, s.End())
	r := s.NewReader(Position{})
	rec, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, Position{1, 0, page - 3}, rec.End)
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, s.End(), r.Position())

	// The first part of a record is not padding.
	half := append([]byte{2, 0, 1, 0xff, 0xff, 0xff, 0xff}, 9)
	binary.BigEndian.PutUint32(half[3:], crc32.Checksum(half[7:], crc32.MakeTable(crc32.Castagnoli)))
	f, err := os.OpenFile(filepath.Join(s.inv.walDir, segmentName(0)), os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	_, err = f.Write(half)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, Position{1, 0, page}, r.Position())
	r.Close()
	require.NoError(t, w.Close())
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

// Readers find what upstream has begun before the store has been told.
func TestReaderIsAheadOfTheInventory(t *testing.T) {
	s := openStore(t, t.TempDir(), Options{})
	w, err := wlog.NewSize(nil, nil, s.inv.walDir, page, compression.None)
	require.NoError(t, err)
	s.Notify()
	for range 8 { // two in each segment
		require.NoError(t, w.Log(make([]byte, page/2-20)))
	}
	require.NoError(t, w.Close())
	require.Len(t, s.inv.running().segments, 1)
	r := s.NewReader(Position{})
	defer r.Close()
	for n := range 8 {
		rec, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, n/2, rec.End.Segment)
	}
	_, err = r.Next()
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, s.End(), r.Position())
	require.Len(t, s.inv.running().segments, 1)
}
