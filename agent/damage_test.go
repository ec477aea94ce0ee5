package agent_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// backlogSegments lists the segments of the oldest generation, in order.
func backlogSegments(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "backlog", "*", "[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	var first []string
	for _, path := range all {
		if fi, err := os.Stat(path); err == nil && !fi.IsDir() && fi.Size() > 0 && (len(first) == 0 || filepath.Dir(path) == filepath.Dir(first[0])) {
			first = append(first, path)
		}
	}
	return first
}

// flip damages bytes in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(b) / 2; i < len(b)/2+64 && i < len(b); i++ {
		b[i] ^= 0xff
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDamage: whatever is damaged on disk, the agent starts, says what it lost,
// and delivers all the rest.
func TestDamage(t *testing.T) {
	t.Parallel()
	const perSegment = 40 // scrapes in a segment, roughly: bounds what one may cost
	cases := map[string]struct {
		harm func(t *testing.T, dir string)
		// loses is how many scrapes may be missing; said: the ledger must tell.
		loses int
		said  bool
	}{
		"last segment truncated": {func(t *testing.T, dir string) {
			segments := backlogSegments(t, dir)
			last := segments[len(segments)-1]
			fi, err := os.Stat(last)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(last, fi.Size()-100); err != nil {
				t.Fatal(err)
			}
		}, 2, false},
		"middle segment flipped": {func(t *testing.T, dir string) {
			segments := backlogSegments(t, dir)
			flip(t, segments[len(segments)/2])
		}, perSegment, true},
		"segment removed": {func(t *testing.T, dir string) {
			segments := backlogSegments(t, dir)
			if err := os.Remove(segments[len(segments)/2]); err != nil {
				t.Fatal(err)
			}
		}, perSegment, true},
		"marks flipped": {func(t *testing.T, dir string) {
			flip(t, filepath.Join(dir, "delivery.json"))
		}, 0, false},
		"marks removed": {func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "delivery.json")); err != nil {
				t.Fatal(err)
			}
		}, 0, false},
		"checkpoints flipped": {func(t *testing.T, dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, "backlog", "*", "checkpoint.*", "*"))
			if len(files) == 0 {
				t.Fatal("there is no checkpoint")
			}
			for _, f := range files {
				flip(t, f)
			}
		}, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, agenttest.Manners{})
			r.options.SegmentSize = 32 << 10
			r.options.TruncateInterval = 2 * time.Second
			one := r.targets.Add("one", agenttest.TargetOptions{Series: 200})
			r.start()
			r.awaitState("one", delivery.Live)
			var cut time.Time
			r.outage(func() {
				r.awaitScrapes(one, 60)
				cut = time.Now()
				r.kill()
				r.start() // so that all of it is a finished generation
				r.kill()
				c.harm(t, r.options.StoragePath)
				r.start()
			})
			r.awaitState("one", delivery.Live)
			r.eventually("what is left to arrive", func() error {
				s := r.endpoint.Snapshot().Scrapes(one, "", cut)
				if len(s.Missing) > c.loses {
					return fmt.Errorf("%d of %d missing: %v", len(s.Missing), s.Answered, s.Missing)
				}
				return nil
			})
			r.checkNothingLost(r.endpoint)
			if l := r.destination("one").Ledger; c.said && l.LostStretches == 0 {
				t.Errorf("the ledger does not know of the damage: %+v", l)
			}
		})
	}
}

// smallDisk mounts a file system of 24 MiB where the agent keeps its data.
func smallDisk(t *testing.T, r *rig) string {
	t.Helper()
	mount := r.options.StoragePath
	if err := os.MkdirAll(mount, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mount, syscall.MNT_DETACH) })
	return mount
}

// TestSuddenlyFull: when the disk fills up faster than anybody can look, a
// commit fails in the middle. The agent opens its storage anew by itself, and
// nothing is sent twice with another value.
func TestSuddenlyFull(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	mount := smallDisk(t, r)
	r.options.MinFreeBytes = 1
	r.interval = 50 * time.Millisecond
	r.options.BacklogMaxBytes = 18 << 20
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 1000})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	f, err := os.Create(filepath.Join(mount, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // to the last byte
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	r.eventually("a commit to fail, or to be refused in time", func() error {
		if !strings.Contains(r.log.String(), "Opening the storage anew") && !r.status().Storage.Refusing {
			return errors.New("not yet")
		}
		return nil
	})
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	r.eventually("the agent to be ready again", func() error {
		if s := r.status(); !s.Ready || s.Storage.Refusing {
			return fmt.Errorf("%+v", s.Storage)
		}
		return nil
	})
	r.awaitScrapes(one, 2) // one that had begun before may fail
	from := time.Now()
	r.awaitScrapes(one, 10)
	r.awaitState("one", delivery.Live)
	r.awaitNew(one, from)
	r.checkNothingLost(r.endpoint)
}

// awaitNew waits until what a target has answered since a time is stored.
func (r *rig) awaitNew(target *agenttest.Target, from time.Time) {
	r.t.Helper()
	now := time.Now()
	at := map[int64]time.Time{}
	for _, scrape := range target.Answered() {
		at[scrape.Ordinal] = scrape.At
	}
	r.eventually("new scrapes to arrive", func() error {
		for _, missing := range r.endpoint.Snapshot().Scrapes(target, "", now).Missing {
			if at[missing].After(from) {
				return fmt.Errorf("scrape %d is missing", missing)
			}
		}
		return nil
	})
}

// TestFullDisk: on a full disk the agent stays up and refuses appends before
// anything is damaged, and takes them up again by itself.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, agenttest.Manners{})
	mount := smallDisk(t, r)
	r.options.MinFreeBytes = 6 << 20
	r.options.BacklogMaxBytes = 18 << 20
	one := r.targets.Add("one", agenttest.TargetOptions{Series: 1000})
	r.start()
	r.awaitState("one", delivery.Live)
	r.awaitScrapes(one, 5)
	// Somebody else fills the disk, below the floor.
	free := r.status().Storage.FreeBytes
	filler := writeFile(t, mount, "filler", make([]byte, free-3<<20))
	r.eventually("appends to be refused", func() error {
		if s := r.status(); !s.Storage.Refusing || s.Destinations[0].Ledger.NotAppended == 0 {
			return fmt.Errorf("%+v", s.Storage)
		}
		return nil
	})
	r.awaitScrapes(one, 10)
	if !r.status().Ready {
		t.Error("the agent is not ready any more")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	r.eventually("appends to be taken up again", func() error {
		if r.status().Storage.Refusing {
			return errors.New("still refusing")
		}
		return nil
	})
	r.awaitScrapes(one, 2) // one that had begun before may be refused
	from := time.Now()
	r.awaitScrapes(one, 10)
	r.awaitNew(one, from)
	l := r.awaitLedger("one", r.endpoint)
	if l.NotAppended == 0 || l.DamagedBytes > 0 {
		t.Errorf("the ledger says %+v", l)
	}
	r.checkNothingLost(r.endpoint)
	if strings.Contains(r.log.String(), "corrupt") {
		t.Error("the WAL was damaged")
	}
}
