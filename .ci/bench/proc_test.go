package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseMemory(t *testing.T) {
	m, err := parseMemory([]byte("Name:\tx VmRSS: 9 kB\nVmHWM:\t  99 kB\nVmRSS:\t   40960 kB\nRssAnon:\t   12288 kB\nRssFile:\t   28668 kB\nRssShmem:\t       4 kB\n"))
	require.NoError(t, err)
	require.Equal(t, memory{rss: 40 << 20, anon: 12 << 20, file: 28 << 20}, m)

	for text, want := range map[string]string{
		"":                               "no VmRSS", // of a zombie
		"VmRSS:\t1 kB\nRssAnon:\t1 kB\n": "no RssFile",
		"VmRSS:\n":                       "nothing behind VmRSS",
		"VmRSS:\tmany kB\n":              `VmRSS: strconv.ParseInt: parsing "many": invalid syntax`,
	} {
		_, err := parseMemory([]byte(text))
		require.EqualError(t, err, want, "%q", text)
	}
}

func TestParseStat(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"7 (x) S 1 7 7 0 -1 4194560 100 0 0 0 150 25 3 4 20 0 8 0 500":        1750 * time.Millisecond,
		"7 (a) b (c 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 1 0 3 4 20 0 8 0 500": 10 * time.Millisecond,
	} {
		got, err := parseStat([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", "7 (x) S 1", "7 x S 1 7 7 0 -1 4194560 100 0 0 0 150 25", "7 (x) S 1 7 7 0 -1 4194560 100 0 0 0 150 y 3"} {
		_, err := parseStat([]byte(text))
		require.Error(t, err, "%q", text)
	}
}

func TestParseSchedstat(t *testing.T) {
	got, err := parseSchedstat([]byte("1234567 99 3\n"))
	require.NoError(t, err)
	require.Equal(t, 1234567*time.Nanosecond, got)
	for _, text := range []string{"", "x 1 2"} {
		_, err := parseSchedstat([]byte(text))
		require.Error(t, err, "%q", text)
	}
}

func TestSince(t *testing.T) {
	begun := time.Now()
	earlier := counters{
		at: begun, cpu: 100 * time.Millisecond, written: 1000,
		threads: map[int]thread{1: {cpu: 90 * time.Millisecond, switches: 50}, 2: {cpu: 15 * time.Millisecond, switches: 5}},
	}
	later := counters{
		at: begun.Add(10 * time.Second), cpu: 130 * time.Millisecond, written: 1500,
		threads: map[int]thread{1: {cpu: 93 * time.Millisecond, switches: 70}, 2: {cpu: 15 * time.Millisecond, switches: 5}, 3: {cpu: time.Millisecond, switches: 2}},
	}
	require.Equal(t, spent{wall: 10 * time.Second, cpu: 4 * time.Millisecond, switches: 22, written: 500}, later.since(earlier))

	// What the thread that has ended used is in the ticks only.
	delete(later.threads, 2)
	require.Equal(t, 30*time.Millisecond, later.since(earlier).cpu)
}

// TestReadingsOfThisProcess: the files of a real kernel have what is looked for.
func TestReadingsOfThisProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has these files")
	}
	m, err := readMemory(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, m.anon)
	require.Positive(t, m.file)
	require.InDelta(t, m.rss, m.anon+m.file, float64(m.rss)/10)

	earlier, err := readCounters(os.Getpid())
	require.NoError(t, err)
	require.NotEmpty(t, earlier.threads)
	for n := 0; ; n++ { // until the work shows
		later, err := readCounters(os.Getpid())
		require.NoError(t, err)
		if used := later.since(earlier); used.cpu > 0 && used.wall > 0 {
			break
		}
		require.Less(t, n, 1_000_000)
	}
}

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "wal"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wal", "x"), make([]byte, 100_000), 0o640))
	size, err := diskUse(dir)
	require.NoError(t, err)
	require.GreaterOrEqual(t, size, int64(100_000))

	size, err = diskUse(filepath.Join(dir, "absent"))
	require.NoError(t, err)
	require.Zero(t, size)
}
