package agent_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/agenttest/cutdisk"
	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// powerCuts names how many images each file system is tried with.
const powerCuts = "OPSTRACE_AGENT_POWER_CUTS"

// disk is a file system.
type disk struct {
	kind    string // for mount
	size    int64
	program string // that makes it
	args    []string
	// mend is how it is made good again after a cut, as a boot does it: program and
	// arguments; the file behind them.
	mend []string
	// segment is how large those of the WAL are, in bytes; 0: small, and truncated often, so
	// that upstream syncs one after the other by itself.
	segment int
	// noLinks: it has no hard links, so that what is truncated is gone.
	noLinks bool
}

var disks = map[string]disk{
	"ext4":                   {kind: "ext4", size: 24 << 20, program: "mkfs.ext4", args: []string{"-q", "-F", "-m", "0"}},
	"ext4, large segments":   {kind: "ext4", size: 24 << 20, program: "mkfs.ext4", args: []string{"-q", "-F", "-m", "0"}, segment: 4 << 20},
	"ext4 without a journal": {kind: "ext4", size: 24 << 20, program: "mkfs.ext4", args: []string{"-q", "-F", "-m", "0", "-O", "^has_journal"}, mend: []string{"fsck.ext4", "-fy"}},
	"f2fs":                   {kind: "f2fs", size: 64 << 20, program: "mkfs.f2fs", args: []string{"-q", "-f"}},
	"vfat":                   {kind: "vfat", size: 24 << 20, program: "mkfs.vfat", mend: []string{"fsck.vfat", "-a"}, noLinks: true},
}

// TestPowerCuts has an agent work on a disk that remembers its writes, through an
// outage, a restart and a kill, and cuts the power at moments all over: the agent
// starts, has lost at most what came in the last moments, delivers all else, and its
// ledger adds up.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	for name, disk := range disks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if os.Geteuid() != 0 {
				t.Skip("only root mounts file systems")
			}
			image, err := cutdisk.Format(disk.size, disk.program, disk.args...)
			if err != nil {
				t.Skip("cannot make a file system: ", err)
			}
			p := &powerCut{rig: newRig(t, agenttest.Manners{}), fs: disk, image: filepath.Join(t.TempDir(), "image")}
			p.record(image)
			images := 4
			if s := os.Getenv(powerCuts); s != "" {
				if images, err = strconv.Atoi(s); err != nil {
					t.Fatal(powerCuts, ": ", err)
				}
			}
			for n := range images {
				p.cut(n, images)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d images of %d writes: %v", images, p.disk.Writes(), p.cuts)
		})
	}
}

// powerCut is an agent on a disk that loses its power.
type powerCut struct {
	*rig

	fs     disk
	image  string // the file that a disk is made of again
	disk   *cutdisk.Disk
	target *agenttest.Target
	stored []agenttest.Sample // of the target's ordinals, when the disk was recorded
	cuts   map[cutdisk.Manner]int
}

const cutSyncInterval = 500 * time.Millisecond

// record is the life of the disk before the cuts.
func (p *powerCut) record(image []byte) {
	p.t.Helper()
	disk, err := cutdisk.New(p.t.TempDir(), image)
	if err != nil {
		p.t.Skip("cannot make a disk: ", err)
	}
	p.disk = disk
	p.t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			p.t.Error(err)
		}
	})
	unmount, err := p.mount(disk.Device)
	if err != nil {
		p.t.Skip(err)
	}
	defer unmount()

	p.interval = 100 * time.Millisecond
	p.options.SyncInterval = cutSyncInterval
	p.options.SegmentSize = cmp.Or(p.fs.segment, 32<<10)
	if !p.fs.noLinks && p.fs.segment == 0 {
		p.options.TruncateInterval = 1500 * time.Millisecond
	}
	p.options.MinFreeBytes = 1
	p.target = p.targets.Add("plain", agenttest.TargetOptions{Series: 60, Churn: 5})
	p.start()
	p.awaitState("one", delivery.Live)
	p.awaitScrapes(p.target, 20)
	p.outage(func() {
		p.awaitScrapes(p.target, 40) // some of which are to be durable in any case
		p.stop()
		p.start()
		p.awaitScrapes(p.target, 40)
		p.kill()
		p.start()
		p.awaitScrapes(p.target, 10)
	})
	p.awaitState("one", delivery.Live)
	p.awaitScrapes(p.target, 20)
	p.stop()
	series := p.endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, agenttest.ScrapesMetric))
	if len(series) != 1 {
		p.t.Fatalf("%d series of %s", len(series), agenttest.ScrapesMetric)
	}
	p.stored = series[0].Samples
	p.cuts = map[cutdisk.Manner]int{}
}

// mount puts a device where the agent keeps its data.
func (p *powerCut) mount(device string) (unmount func(), err error) {
	p.t.Helper()
	mountpoint := filepath.Join(p.dir, "mnt")
	if err := os.MkdirAll(mountpoint, 0o750); err != nil {
		p.t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", p.fs.kind, device, mountpoint).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("cannot mount: %w: %s", err, out)
	}
	p.options.StoragePath = filepath.Join(mountpoint, "data")
	return func() {
		if err := syscall.Unmount(mountpoint, 0); err != nil {
			p.t.Fatal(err)
		}
	}, nil
}

// cut is the n-th of so many cuts, and what comes after it.
func (p *powerCut) cut(n, of int) {
	p.t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(n), uint64(of)))
	writes := p.disk.Writes()
	at := (writes*n + rnd.IntN(writes)) / of
	manners := cutdisk.Manners()
	manner := manners[n%len(manners)]
	image, when := p.disk.Cut(at, manner, rnd)
	what := fmt.Sprintf("cut %d of %d, at %s, behind write %d of %d, %s", n, of, when.UTC().Format(stamp), at, writes, manner)
	p.cuts[manner]++
	defer func() {
		if p.t.Failed() {
			kept := filepath.Join(os.TempDir(), fmt.Sprintf("power-cut-%d.image", n))
			p.t.Logf("%s; the disk is kept in %s: %v", what, kept, os.WriteFile(kept, image, 0o600))
		}
	}()
	if err := os.WriteFile(p.image, image, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if len(p.fs.mend) > 0 {
		out, err := exec.Command(p.fs.mend[0], append(p.fs.mend[1:], p.image)...).CombinedOutput()
		if exit := (&exec.ExitError{}); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 2) {
			p.t.Fatalf("%s: cannot mend the file system: %v: %s", what, err, out)
		}
	}
	device, err := cutdisk.Attach(p.image)
	if err != nil {
		p.t.Fatal(err)
	}
	unmount, err := p.mount(device)
	if err != nil {
		p.t.Fatal(what, ": ", err)
	}
	defer func() {
		unmount()
		if err := cutdisk.Detach(device); err != nil {
			p.t.Error(err)
		}
	}()
	p.after(when)
}

// after starts an agent on what the cut has left, and holds what it delivers against
// what was answered before.
func (p *powerCut) after(when time.Time) {
	p.t.Helper()
	endpoint, err := agenttest.NewEndpoint(agenttest.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer endpoint.Close()
	p.targets.Remove(p.target)
	p.writes = p.write("one", endpoint, "")
	p.start()
	var d delivery.Status
	p.eventually("everything to be delivered", func() error {
		if d = p.destination("one"); d.State != delivery.Live || d.Ledger.OnDisk > 0 || d.Ledger.Appended != d.Ledger.Sum() {
			return fmt.Errorf("%+v", d)
		}
		return nil
	})
	p.stop()
	// FAT replaces no file at one stroke.
	if strings.Contains(p.log.String(), "The marks are lost") && p.fs.kind != "vfat" {
		p.t.Error("the marks are lost")
	}
	l := d.Ledger
	if l.Evicted > 0 || len(l.Refused) > 0 || len(l.Filtered) > 0 || len(l.Uncertain) > 0 {
		p.t.Errorf("%+v", l)
	}
	if stored := uint64(endpoint.Snapshot().Accepted); stored > l.Delivered {
		p.t.Errorf("the endpoint has %d, the ledger says %+v", stored, l)
	}

	times := map[float64]int64{} // of ordinals, at the endpoint of before; of nearly all
	there := map[float64]bool{}  // by the time of the cut, or now
	answered := p.target.Answered()
	newest := answered[len(answered)-1].Ordinal + 1 // one more may have been on its way
	for _, s := range p.stored {
		times[s.V] = s.T
		there[s.V] = !s.At.After(when)
	}
	for _, series := range endpoint.Snapshot().Series(labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, agenttest.ScrapesMetric)) {
		for _, s := range series.Samples {
			if value.IsStaleNaN(s.V) {
				continue
			}
			if t, ok := times[s.V]; ok && t != s.T || s.V < 1 || s.V > float64(newest) {
				p.t.Errorf("delivered as of %d, scrape %v was of %d", s.T, s.V, t)
			}
			there[s.V] = true
		}
	}
	durable := when.Add(-p.unsynced(when, answered))
	for _, s := range answered {
		if s.At.Before(durable) && !there[float64(s.Ordinal)] {
			p.t.Errorf("scrape %d, answered %s before the cut, is gone: %+v", s.Ordinal, when.Sub(s.At), l)
		}
	}
}

// unsynced is how long what is written may have waited for its sync by a moment: the
// interval, a second until it is looked whether one is due, and as much again for a disk
// that is slow; longer where the machine was so busy that scrapes came late as well.
func (p *powerCut) unsynced(by time.Time, answered []agenttest.Scrape) time.Duration {
	const most = 5 * cutSyncInterval
	busy := time.Duration(0)
	for n := 1; n < len(answered) && answered[n-1].At.Before(by); n++ {
		if answered[n].At.After(by.Add(-2 * most)) {
			busy = max(busy, answered[n].At.Sub(answered[n-1].At)-p.interval)
		}
	}
	return most + busy
}
