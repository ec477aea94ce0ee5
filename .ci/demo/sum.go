package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
	"github.com/opstrace/opstrace-agent/agent/number"
)

// lastDeliveries is how long what is on disk may take to be delivered at the end,
// in whatever state the end finds things.
const lastDeliveries = 30 * time.Second

// close ends everything in order and leaves nothing behind. With failed, something
// went wrong already. timeUp: nobody interrupted, so samples have to have arrived.
func (d *demo) close(failed error, timeUp bool) error {
	err := failed
	if err == nil {
		err = d.deliverAll()
	}
	err = errors.Join(err, d.agent.stop())
	if err == nil {
		err = d.sum(timeUp)
	}
	err = errors.Join(err, d.sandbox.stop())
	if err != nil {
		for _, p := range []*process{d.sandbox, d.agent} {
			fmt.Fprintf(os.Stderr, "\nThe end of the %s's log:\n%s", p.name, p.tail())
		}
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

// deliverAll gives the agent the endpoint, and the agent back if it was killed, until
// all is delivered that has been scraped by now. A second interrupt ends it.
func (d *demo) deliverAll() error {
	if !d.agent.started {
		return nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	fmt.Print("\nThe end: with the endpoint up and the agent running, what is left on disk is delivered.\n")
	if err := d.control("up"); err != nil {
		return err
	}
	if d.agent.ended() == nil {
		if err := d.agent.start(); err != nil {
			return err
		}
	}
	if err := d.await(ctx, d.agent, d.agentReady); err != nil {
		return err
	}
	due := time.Now().Add(lastDeliveries)
	var wanted uint64 // that much was scraped when it ended
	err := d.await(ctx, d.agent, func() bool {
		s, err := d.delivery()
		if err != nil || s.counting {
			return time.Now().After(due)
		}
		if wanted == 0 {
			wanted = s.appended
		}
		return s.appended-s.onDisk >= wanted || time.Now().After(due)
	})
	if err == nil && ctx.Err() != nil {
		err = errors.New("interrupted before all was delivered")
	}
	return err
}

// stats are what the endpoint counts, in samples but for the last one.
type stats struct {
	stored, twice int64
	cut           int // scrapes that no sample is known of
}

func (d *demo) stats() (s stats, err error) {
	var answer struct {
		Tenants map[string]struct {
			Accepted   int64 `json:"accepted"`
			Duplicates int64 `json:"duplicates"`
		} `json:"tenants"`
		Targets map[string]struct {
			Missing int `json:"missing"`
		} `json:"targets"`
	}
	if err := d.getJSON(d.world.Control+"/stats", &answer); err != nil {
		return s, err
	}
	for _, t := range answer.Tenants {
		s.stored += t.Accepted
		s.twice += t.Duplicates
	}
	for _, t := range answer.Targets {
		s.cut += t.Missing
	}
	return s, nil
}

// sum compares the ledger that the agent has left with what the endpoint stores, and
// prints it as the last line. It fails where something is missing.
func (d *demo) sum(timeUp bool) error {
	var terms ledger.Terms
	var s stats
	if d.agent.started {
		file, err := ledger.Load(d.storage())
		if err != nil {
			return err
		}
		for _, dest := range file.Destinations {
			terms = dest.Terms
		}
		if s, err = d.stats(); err != nil {
			return err
		}
	}
	lines, err := account(terms, s)
	for _, line := range lines {
		fmt.Println(line)
	}
	if timeUp && s.stored == 0 {
		err = errors.Join(err, errors.New("no sample arrived"))
	}
	return err
}

// account is the end of the demo in words. The ledger counts every sample that the
// agent has written to disk.
func account(ledgerOf ledger.Terms, at stats) (lines []string, err error) {
	owed := int64(ledgerOf.Appended) - int64(ledger.Total(ledgerOf.Filtered))
	missing := owed - at.stored
	lines = append(lines, "", fmt.Sprintf("The agent's ledger: %s written to disk, %s of them there still. The endpoint: %s stored, %s of them came twice.",
		number.Count(int(ledgerOf.Appended), "sample"), number.Group(ledgerOf.OnDisk), number.Group(uint64(at.stored)), number.Group(uint64(at.twice))))
	if at.cut > 0 {
		lines = append(lines, fmt.Sprintf("The kill cut off %s under way, of which nothing had been written.", number.Count(at.cut, "scrape")))
	}
	lines = append(lines, fmt.Sprintf("scraped %d, missing %d", ledgerOf.Appended, max(missing, 0)))
	switch {
	case missing > 0:
		err = fmt.Errorf("%d samples are missing at the endpoint", missing)
	case missing < 0:
		err = fmt.Errorf("the endpoint has %d samples more than the agent has counted", -missing)
	}
	return lines, err
}
