package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// act is something that happens, a time after the agent was ready.
type act struct {
	at  time.Duration
	say string
	do  func() error
}

// shortest is how long the plot takes as it is, with time to catch up at its end.
const shortest = time.Minute

// plot is what happens; in half of the time that there is, so that the rest is left
// to catch up.
func plot(d *demo, duration time.Duration) []act {
	acts := []act{
		{10 * time.Second, "The endpoint dies: connections are refused.", func() error { return d.control("down") }},
		{20 * time.Second, "The agent is killed (kill -9).", d.killAgent},
		{22 * time.Second, "The agent is started again.", d.agent.start},
		{30 * time.Second, "The endpoint is back.", func() error { return d.control("up") }},
	}
	if duration <= 0 || duration >= shortest {
		return acts
	}
	for i := range acts {
		acts[i].at = time.Duration(acts[i].at.Seconds() * duration.Seconds() / shortest.Seconds() * float64(time.Second))
	}
	return acts
}

func (d *demo) killAgent() error { return d.agent.kill() }

// play lets everything happen and prints every second what the endpoint has stored
// and what waits on disk.
func (d *demo) play(ctx context.Context, acts []act) error {
	begun := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	fmt.Printf("%-8s  %12s  %8s  %8s  %s\n", "time", "stored there", "a second", "on disk", "the agent says")
	var stored window
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.agent.ended():
			return fmt.Errorf("the agent ended: %w", d.agent.err)
		case <-d.sandbox.ended():
			return fmt.Errorf("the sandbox ended: %w", d.sandbox.err)
		case now := <-tick.C:
			for len(acts) > 0 && now.Sub(begun) >= acts[0].at {
				fmt.Printf("\n%s\n\n", acts[0].say)
				if err := acts[0].do(); err != nil {
					return err
				}
				acts = acts[1:]
			}
			s, err := d.stats()
			if err != nil {
				return err
			}
			stored.add(now, s.stored)
			onDisk, words := d.asked()
			fmt.Printf("%-8s  %12s  %8.0f  %8s  %s\n", now.Format(time.TimeOnly), number.Group(uint64(s.stored)), stored.perSecond(), onDisk, words)
		}
	}
}

// window is a counter over its last few seconds: samples arrive in batches, with
// nothing in between.
type window []reading

type reading struct {
	at time.Time
	n  int64
}

// windowLength is longer than upstream's queue waits to fill a batch.
const windowLength = 10 * time.Second

func (w *window) add(at time.Time, n int64) {
	*w = append(*w, reading{at, n})
	for len(*w) > 2 && at.Sub((*w)[1].at) >= windowLength {
		*w = (*w)[1:]
	}
}

func (w window) perSecond() float64 {
	if len(w) < 2 {
		return 0
	}
	first, last := w[0], w[len(w)-1]
	return float64(last.n-first.n) / last.at.Sub(first.at).Seconds()
}

// asked returns what the agent has still to send, and its verdict on itself.
func (d *demo) asked() (onDisk, words string) {
	a, err := d.delivery()
	switch {
	case err != nil && d.agent.ended() == nil:
		return "", "(killed)"
	case err != nil:
		return "", "(starting)"
	}
	return number.Group(a.onDisk), redact.Line(a.words, 110)
}

// delivery is what the agent says of its destination.
type delivery struct {
	onDisk, appended uint64 // samples
	counting         bool   // after a kill: both are too low yet
	words            string
}

func (d *demo) delivery() (delivery, error) {
	var answer struct {
		Data struct {
			Verdict struct {
				Headline string `json:"headline"`
			} `json:"verdict"`
			Destinations []struct {
				State    string `json:"state"`
				Counting bool   `json:"counting"`
				Ledger   struct {
					Appended uint64 `json:"appended"`
					OnDisk   uint64 `json:"onDisk"`
				} `json:"ledger"`
			} `json:"destinations"`
		} `json:"data"`
	}
	if err := d.getJSON("http://"+d.listen+"/api/v1/status/delivery", &answer); err != nil {
		return delivery{}, err
	}
	if len(answer.Data.Destinations) == 0 {
		return delivery{words: answer.Data.Verdict.Headline}, nil
	}
	first := answer.Data.Destinations[0]
	return delivery{first.Ledger.OnDisk, first.Ledger.Appended, first.Counting, first.State + ": " + answer.Data.Verdict.Headline}, nil
}
