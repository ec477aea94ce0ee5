package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

const (
	// wellWithin is what the first start may take until all is well, which is more than calm.
	wellWithin = time.Minute
	// emptyWithin is what the rest may take to be delivered when nothing is scraped any more.
	emptyWithin = time.Minute
	lookEvery   = time.Second
)

// run is one run of a schedule.
type run struct {
	world *world
	say   func(format string, args ...any)

	mu    sync.Mutex // of facts while somebody looks
	facts facts
}

// play runs a schedule in a directory and returns what is known of it. The error is about
// the machine, and not a judgement of the agent.
func play(ctx context.Context, s schedule, dir string, p program, say func(string, ...any)) (facts, error) {
	if err := os.WriteFile(filepath.Join(dir, "schedule"), []byte(s.String()), 0o640); err != nil {
		return facts{}, err
	}
	w, err := newWorld(dir, p, s)
	if err != nil {
		return facts{}, err
	}
	defer w.close()
	r := &run{world: w, say: say, facts: facts{schedule: s}}
	err = r.play(ctx)
	if r.endedByItself() { // whatever could not be done then
		err = nil
	}
	return r.facts, errors.Join(err, r.finish())
}

func (r *run) play(ctx context.Context) error {
	for _, p := range r.world.processes() {
		if err := p.start(); err != nil {
			return err
		}
	}
	if err := r.await(ctx, wellWithin, "all is well for the first time", func() bool { return r.look(ctx).code == 0 }); err != nil {
		if ctx.Err() != nil || r.endedByItself() {
			return err
		}
		r.say("%s", err) // which breaks a rule
		r.facts.ended = time.Now()
		return r.drain(ctx)
	}
	looking, stop := context.WithCancel(ctx)
	var lookers sync.WaitGroup
	defer lookers.Wait()
	defer stop()
	lookers.Go(func() {
		for looking.Err() == nil {
			r.look(looking)
			pause(looking, lookEvery)
		}
	})
	if err := r.events(ctx); err != nil {
		return err
	}
	r.facts.ended = time.Now()
	// What does not become well by then is found by the rules.
	_ = r.await(ctx, settling, "", r.settled)
	stop()
	lookers.Wait()
	return r.drain(ctx)
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// look enters what is to be seen now.
func (r *run) look(ctx context.Context) look {
	l := r.world.look(ctx)
	if ctx.Err() != nil {
		return l
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.looks = append(r.facts.looks, l)
	return l
}

// step is the beginning or the end of an event.
type step struct {
	at    time.Duration
	event int // its place in the schedule
	ends  bool
}

// steps are those of a schedule in their order; what ends goes before what begins at the
// same time.
func steps(s schedule) (all []step) {
	for i, e := range s.events {
		all = append(all, step{e.at, i, false})
		if m, _ := mannerOf(e.kind); m.end != nil {
			all = append(all, step{e.at + e.lasts, i, true})
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return all
}

// events does everything that is in the schedule, each at its time.
func (r *run) events(ctx context.Context) error {
	begun := time.Now()
	spans := map[int]int{}
	for _, s := range steps(r.facts.schedule) {
		if !pause(ctx, time.Until(begun.Add(s.at))) {
			return ctx.Err()
		}
		if r.endedByItself() {
			return errors.New("the agent ended by itself")
		}
		e := r.facts.schedule.events[s.event]
		m, _ := mannerOf(e.kind)
		if _, begun := spans[s.event]; s.ends && !begun {
			continue
		}
		if !s.ends && m.needs != nil {
			if why := m.needs(r.world); why != "" {
				r.say("left out: %s: %s", e, why)
				continue
			}
		}
		now := time.Now()
		r.say("%s  %s%s", now.Format(stamp), map[bool]string{true: "end of "}[s.ends], e)
		if !s.ends {
			spans[s.event] = len(r.facts.spans)
			r.enter(span{event: e, from: now})
			if err := m.begin(r.world, e); err != nil {
				return fmt.Errorf("%s: %w", e, err)
			}
			if m.end != nil {
				continue
			}
		} else if err := m.end(r.world, e); err != nil {
			return fmt.Errorf("end of %s: %w", e, err)
		}
		r.leave(spans[s.event])
	}
	return nil
}

func (r *run) enter(s span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.spans = append(r.facts.spans, s)
}

// leave ends a span.
func (r *run) leave(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.facts.spans[i].to = time.Now()
}

// settled reports whether there is nothing more to wait for: everything is delivered, and
// all is well if it can be.
func (r *run) settled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.facts.looks[len(r.facts.looks)-1]
	if last.pid == 0 || last.from.Before(r.facts.ended) || len(last.destinations) < len(r.world.destinations) {
		return false
	}
	if r.world.sender != nil && (last.sender == nil || !last.sender.caughtUp()) {
		return false
	}
	for _, d := range last.destinations {
		if !d.caughtUp() {
			return false
		}
	}
	tainted := slices.ContainsFunc(r.facts.spans, func(s span) bool {
		m, _ := mannerOf(s.kind)
		return len(m.costs) > 0 && !m.sender
	})
	return last.code == 0 || tainted
}

// drain ends scraping, waits until all is delivered, and stops the agent, behind its sender.
func (r *run) drain(ctx context.Context) error {
	if s := r.world.sender; s != nil {
		if err := r.world.stopScraping(s); err != nil {
			return err
		}
		r.emptied(ctx, s.url, 1)
		if err := s.stop(); err != nil {
			return err
		}
	}
	if err := r.world.reconfigure(func(c *configuration) { c.scraping = false }); err != nil {
		return err
	}
	r.emptied(ctx, r.world.url, len(r.world.destinations))
	return r.world.agent.stop()
}

// emptied waits until an agent has delivered everything. What it has not by then is found
// by the rules.
func (r *run) emptied(ctx context.Context, url string, destinations int) {
	// The markers that end the series are written some intervals later.
	const still = 3 * scrapeInterval
	var appended uint64
	since := time.Now()
	_ = r.await(ctx, emptyWithin, "", func() bool {
		now, err := askDelivery(ctx, url)
		sum, onDisk := uint64(0), err != nil || len(now) < destinations
		for _, d := range now {
			sum += d.Ledger.Appended
			onDisk = onDisk || d.Counting || d.Ledger.OnDisk > 0
		}
		if sum != appended || onDisk {
			appended, since = sum, time.Now()
		}
		return time.Since(since) > still
	})
}

// finish gathers what the agent has left, and what targets and endpoints know.
func (r *run) finish() error {
	r.facts.starts = r.world.agent.starts
	for _, p := range r.world.processes() {
		p.close()
		r.facts.exits = append(r.facts.exits, p.exits...)
		log, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		r.facts.log = append(r.facts.log, badLines(log)...)
	}
	if s := r.world.sender; s != nil {
		file, err := ledger.Load(s.storage())
		if err != nil {
			return err
		}
		saved, known := file.Destinations["agent"]
		r.facts.sender = &senderFacts{ledger: saved.Terms, known: known}
	}
	file, err := ledger.Load(r.world.storage())
	r.facts.gather(r.world, file)
	return errors.Join(err, r.world.write("looks", r.facts.looksText()), r.world.writeRequests())
}

func (r *run) endedByItself() bool {
	return slices.ContainsFunc(r.world.processes(), func(p *process) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.exits, func(e exit) bool { return e.after == "" })
	})
}

// await waits until something is so, and asks often.
func (r *run) await(ctx context.Context, within time.Duration, what string, so func() bool) error {
	for deadline := time.Now().Add(within); !so(); {
		switch {
		case r.endedByItself():
			return errors.New("the agent ended by itself")
		case time.Now().After(deadline):
			return fmt.Errorf("not within %s: %s", within, what)
		case !pause(ctx, lookEvery/4):
			return ctx.Err()
		}
	}
	return nil
}
