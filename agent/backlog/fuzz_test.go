package backlog

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// spoil does to the bytes of a file what disks, power cuts and people do: edits are
// taken six at a time, one for what, three for where, two for how much.
func spoil(b, edits []byte) []byte {
	for ; len(edits) >= 6 && len(b) > 0; edits = edits[6:] {
		at := int(edits[1])<<16 | int(binary.BigEndian.Uint16(edits[2:]))
		at %= len(b)
		n := min(int(binary.BigEndian.Uint16(edits[4:]))+1, len(b)-at)
		switch edits[0] % 6 {
		case 0: // a flipped bit
			b[at] ^= 1 << (edits[4] % 8)
		case 1: // a tail that was never written
			b = b[:at]
		case 2: // a page of zeros
			clear(b[at : at+n])
		case 3: // a page in the place of another
			copy(b[at:at+n], b[max(0, at-n):])
		case 4: // something put in
			b = append(b[:at:at], append(append([]byte{}, b[at:at+n]...), b[at:]...)...)
		case 5: // something missing
			b = append(b[:at:at], b[at+n:]...)
		}
	}
	return b
}

// FuzzReader reads a generation of which one segment and the checkpoint hold anything:
// it comes to an end, in order, from wherever it begins; it counts what Count counts;
// and what is in other segments is all there.
func FuzzReader(f *testing.F) {
	var good [][]byte
	var want []Counts // of each segment
	checkpoint := func() []byte {
		r := openRun(f, f.TempDir(), runOptions{})
		for ts := int64(0); r.s.End().Segment < 3; ts++ {
			r.append(int(ts)/5*7, int(ts)/5*7+40, ts)
		}
		r.truncate()
		for i := range 4 {
			b, err := os.ReadFile(filepath.Join(r.dir, "backlog", segmentName(1), segmentName(i)))
			require.NoError(f, err)
			n, err := r.s.Count(Position{1, i, 0}, Position{1, i + 1, 0})
			require.NoError(f, err)
			require.NotZero(f, n.Histograms)
			good, want = append(good, b), append(want, n)
		}
		found, err := filepath.Glob(filepath.Join(r.dir, "wal", "checkpoint.*", segmentName(0)))
		require.NoError(f, err)
		require.Len(f, found, 1)
		b, err := os.ReadFile(found[0])
		require.NoError(f, err)
		r.close()
		return b
	}()
	f.Add([]byte{}, []byte{}, []byte{}, uint8(0), uint16(0))
	f.Add([]byte("not a segment"), []byte{}, []byte{}, uint8(0), uint16(9))
	f.Add([]byte{}, []byte{0, 0, 0x40, 0, 3, 0}, []byte{}, uint8(1), uint16(300)) // a bit of segment 1
	f.Add([]byte{}, []byte{1, 0, 0x40, 0, 0, 0}, []byte{}, uint8(3), uint16(0))   // the end cut
	f.Add([]byte{}, []byte{2, 0, 0x20, 0, 8, 0}, []byte{5, 0, 0, 9, 0, 9}, uint8(2), uint16(60000))
	f.Add([]byte{}, []byte{3, 0, 0x50, 0, 4, 0, 4, 0, 1, 0, 0, 7}, []byte{0, 0, 0, 20, 1, 1}, uint8(0), uint16(1))
	f.Fuzz(func(t *testing.T, raw, edits, checkpointEdits []byte, which uint8, from uint16) {
		dir := t.TempDir()
		generation := filepath.Join(dir, "backlog", segmentName(1))
		require.NoError(t, os.MkdirAll(filepath.Join(generation, "checkpoint.00000000"), 0o750))
		spoilt := int(which) % len(good)
		for i, b := range good {
			b = append([]byte{}, b...)
			if i == spoilt {
				if b = spoil(b, edits); len(raw) > 0 {
					b = raw
				}
			}
			require.NoError(t, os.WriteFile(filepath.Join(generation, segmentName(i)), b, 0o640))
		}
		require.NoError(t, os.WriteFile(filepath.Join(generation, "checkpoint.00000000", segmentName(0)), spoil(append([]byte{}, checkpoint...), checkpointEdits), 0o640))
		s := openStore(t, dir, Options{})
		read := readCounted(t, s, Position{Generation: 1})
		for i := range good {
			if i != spoilt {
				require.Equal(t, want[i], read[i], "segment %d, with %d spoilt", i, spoilt)
			}
		}
		readCounted(t, s, Position{Generation: 1, Segment: int(from) % 5, Offset: int64(from) % (page + 1)})
	})
}

// readCounted reads to the end, and holds what Reader promises against what comes. It
// returns what was read of each segment of the first generation.
func readCounted(t *testing.T, s *Store, from Position) map[int]Counts {
	t.Helper()
	counts, err := s.Count(from, s.End())
	require.NoError(t, err)
	r := s.NewReader(from)
	defer r.Close()
	var (
		read    Counts
		counter = newCounter()
		pos     = from
		segment = map[int]Counts{}
	)
	const most = 100_000
	for range most {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			require.Equal(t, counts, read)
			return segment
		}
		require.NoError(t, err)
		require.LessOrEqual(t, rec.Pos.Compare(rec.End), 0)
		require.GreaterOrEqual(t, rec.Pos.Compare(pos), 0, "%v goes back from %s", rec, pos)
		pos = rec.End
		if rec.Context || rec.Kind != Data {
			continue
		}
		n := counter.count(rec.Data)
		read = read.Add(n)
		if rec.End.Generation == 1 {
			segment[rec.End.Segment] = segment[rec.End.Segment].Add(n)
		}
	}
	t.Fatalf("more than %d records", most)
	return nil
}
