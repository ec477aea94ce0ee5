package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// trial is one program in one scenario.
type trial struct {
	scenario
	peer

	dir      string // of the program's data
	profile  string // the file for a CPU profile of the window; empty: none
	config   string
	listen   string
	log      string
	sink     *sink
	targets  *agenttest.Targets
	process  *process
	measured map[measurand]float64
}

// measure lets a program go through a scenario and returns what was measured, up to an
// error. profiles is the directory for CPU profiles; empty: none is taken.
func measure(ctx context.Context, work, profiles string, s scenario, p peer) (measured map[measurand]float64, err error) {
	t := &trial{scenario: s, peer: p, measured: map[measurand]float64{}}
	dir, err := os.MkdirTemp(work, "one-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t.dir, t.config, t.log = filepath.Join(dir, "data"), filepath.Join(dir, "config.yml"), filepath.Join(dir, "log")
	if profiles != "" {
		t.profile = profileOf(profiles, s, p)
	}
	if t.sink, err = newSink(); err != nil {
		return nil, err
	}
	defer t.sink.down()
	if t.targets, err = agenttest.NewTargets("127.0.0.1:0"); err != nil {
		return nil, err
	}
	defer t.targets.Close()
	scrape := ""
	if s.series > 0 {
		for _, f := range s.fakes() {
			t.targets.Add(f.name, agenttest.TargetOptions{Series: f.series, Churn: f.churn})
		}
		scrape = t.targets.ScrapeConfig("bench", s.interval)
	}
	if s.guest {
		return t.measured, t.playInGuest(ctx, scrape)
	}
	if err := os.WriteFile(t.config, []byte(p.configuration(scrape, t.sink.url(), s.interval)), 0o640); err != nil {
		return nil, err
	}
	if t.listen, err = freeAddress(); err != nil {
		return nil, err
	}
	if err := t.start(ctx); err != nil {
		return nil, err
	}
	defer func() { t.process.kill() }()
	return t.measured, t.play(ctx)
}

// start returns when the program is ready.
func (t *trial) start(ctx context.Context) error {
	p, err := startProcess(t.binary, t.args(t.dir, t.config, t.listen, t.sink.url()), t.log)
	if err != nil {
		return err
	}
	t.process = p
	if err := p.awaitReady(ctx, "http://"+t.listen+t.ready); err != nil {
		p.kill()
		return err
	}
	return nil
}

func (t *trial) play(ctx context.Context) error {
	if err := t.process.sleep(ctx, t.warm); err != nil {
		return err
	}
	profiled := make(chan error, 1)
	if t.profile == "" {
		profiled <- nil
	} else {
		go func() { profiled <- t.takeProfile(ctx) }()
	}
	before, err := t.steady(ctx)
	if err := errors.Join(err, <-profiled); err != nil {
		return err
	}
	if t.outage > 0 {
		if err := t.bridge(ctx, before); err != nil {
			return fmt.Errorf("in the outage: %w", err)
		}
	}
	if t.backlog > 0 {
		if err := t.restart(ctx); err != nil {
			return fmt.Errorf("with a backlog: %w", err)
		}
	}
	if bad := t.sink.read().bad; bad > 0 {
		return fmt.Errorf("the sink could not read %d requests", bad)
	}
	_, err = t.process.stop(ctx)
	return err
}

// steady measures the window and returns the memory in it.
func (t *trial) steady(ctx context.Context) (memory, error) {
	sent := t.sink.read()
	earlier, err := readCounters(t.process.pid())
	if err != nil {
		return memory{}, err
	}
	m, err := t.watchMemory(ctx, t.window)
	if err != nil {
		return memory{}, err
	}
	later, err := readCounters(t.process.pid())
	if err != nil {
		return memory{}, err
	}
	used, now := later.since(earlier), t.sink.read()
	size, err := diskUse(t.dir)
	if err != nil {
		return memory{}, err
	}
	t.set(rss, mebi(m.rss))
	t.set(anon, mebi(m.anon))
	t.set(file, mebi(m.file))
	t.set(cpu, 100*used.cpu.Seconds()/used.wall.Seconds())
	t.set(switches, float64(used.switches)/used.wall.Seconds())
	t.set(disk, mebi(size))
	if samples := float64(now.samples - sent.samples); samples > 0 {
		t.set(cpuSample, float64(used.cpu.Microseconds())/samples)
		t.set(wireSample, float64(now.bytes-sent.bytes)/samples)
		t.set(diskSample, float64(used.written)/samples)
	} else if t.series > 0 {
		return m, errors.New("no sample arrived in the window")
	}
	return m, nil
}

// watchMemory looks every second for so long and returns the medians.
func (t *trial) watchMemory(ctx context.Context, d time.Duration) (memory, error) {
	var whole, anonymous, files []float64
	for due := time.Now().Add(d); time.Now().Before(due); {
		m, err := readMemory(t.process.pid())
		if err != nil {
			return memory{}, err
		}
		whole, anonymous, files = append(whole, float64(m.rss)), append(anonymous, float64(m.anon)), append(files, float64(m.file))
		if err := t.process.sleep(ctx, min(time.Second, max(time.Until(due), 0))); err != nil {
			return memory{}, err
		}
	}
	return memory{rss: int64(median(whole)), anon: int64(median(anonymous)), file: int64(median(files))}, nil
}

// bridge takes the sink away for the outage and measures how it is caught up on. The
// memory is that of the second half, when what is kept has become much.
func (t *trial) bridge(ctx context.Context, before memory) error {
	t.sink.down()
	if err := t.process.sleep(ctx, t.outage/2); err != nil {
		return err
	}
	during, err := t.watchMemory(ctx, t.outage/2)
	if err != nil {
		return err
	}
	t.set(outageRSS, mebi(during.rss))
	t.set(outageGrowth, float64(during.rss)/float64(before.rss))
	back := time.Now()
	t.sink.setMark(back)
	if err := t.sink.up(); err != nil {
		return err
	}
	return t.catchUp(ctx, back)
}

// restart stops the program with a dead endpoint and a backlog, and starts it with a
// living one.
func (t *trial) restart(ctx context.Context) error {
	t.sink.down()
	if err := t.fill(ctx); err != nil {
		return err
	}
	took, err := t.process.stop(ctx)
	if err != nil {
		return fmt.Errorf("the stop: %w", err)
	}
	t.set(deadStop, took.Seconds())
	size, err := diskUse(t.dir)
	if err != nil {
		return err
	}
	t.set(backlogDisk, mebi(size))
	whole := t.dir + ".whole"
	if len(t.marks) > 0 {
		// With its hard links: a segment that is there twice is another directory.
		if out, err := exec.CommandContext(ctx, "cp", "-a", t.dir, whole).CombinedOutput(); err != nil {
			return fmt.Errorf("the directory cannot be copied: %w: %s", err, out)
		}
	}
	started := time.Now()
	t.sink.setMark(started)
	if err := t.sink.up(); err != nil {
		return err
	}
	if err := t.start(ctx); err != nil {
		return err
	}
	err = t.catchUp(ctx, started)
	if first := t.sink.readOld().any; !first.IsZero() {
		t.set(firstAcknowledged, first.Sub(started).Seconds())
	}
	if err != nil || len(t.marks) == 0 {
		return err
	}
	return t.restartWithoutMarks(ctx, whole)
}

// restartWithoutMarks starts the program with a directory that has a backlog, but not
// the files that say what of it was delivered.
func (t *trial) restartWithoutMarks(ctx context.Context, dir string) error {
	if _, err := t.process.stop(ctx); err != nil {
		return fmt.Errorf("the stop after catching up: %w", err)
	}
	t.dir = dir
	for _, name := range t.marks {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	started := time.Now()
	t.sink.setMark(started)
	if err := t.start(ctx); err != nil {
		return err
	}
	for t.sink.readOld().any.IsZero() {
		if time.Since(started) > longestPause {
			return errors.New("nothing was acknowledged without the marks")
		}
		if err := t.process.sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	t.set(firstWithoutMarks, t.sink.readOld().any.Sub(started).Seconds())
	return nil
}

// fill waits until the disk has the backlog, or as long as it may take.
func (t *trial) fill(ctx context.Context) error {
	for due := time.Now().Add(fillTimeout); time.Now().Before(due); {
		size, err := diskUse(t.dir)
		if err != nil || size >= t.backlog {
			return err
		}
		if err := t.process.sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// catchUp waits until no old sample comes any more.
func (t *trial) catchUp(ctx context.Context, since time.Time) error {
	for last := since; ; {
		silence := caughtUpAfter(t.scenario)
		if t.lost(since) > 0 {
			silence = longestPause
		}
		if time.Since(last) >= silence {
			break
		}
		if err := t.process.sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if at := t.sink.readOld().last; at.After(last) {
			last = at
		}
	}
	old := t.sink.readOld()
	t.set(lostScrapes, float64(t.lost(since)))
	if old.samples == 0 {
		return nil // it has kept nothing, which the lost scrapes say
	}
	t.set(oldSamples, float64(old.samples))
	t.set(caughtUp, old.last.Sub(since).Seconds())
	t.set(catchUpWire, float64(old.bytes)/float64(old.samples))
	if took := old.last.Sub(old.first); took > 0 {
		t.set(catchUpRate, float64(old.samples)/took.Seconds())
	}
	return nil
}

// lost is how many scrapes from before a time were answered and have not arrived.
func (t *trial) lost(before time.Time) (n int) {
	for _, target := range t.targets.List() {
		for _, s := range target.Answered() {
			if s.At.Before(before) && !t.sink.has(scrapeID{target.Name, s.Ordinal}) {
				n++
			}
		}
	}
	return n
}

func (t *trial) set(m measurand, value float64) { t.measured[m] = value }

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }
