package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/go-kit/log/level"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/pulse"
)

const (
	startTick  = time.Second // how often to look whether the agent is ready
	statusTick = 5 * time.Second
	// extendStart is how much more time a start that waits asks for. It is
	// asked for at every startTick, so it only has to outlast a busy host.
	extendStart = 30 * time.Second
)

// systemd tells the service manager how the agent is. Without a service manager
// it does nothing.
type systemd struct {
	agent  *agent.Agent
	logger *processLog
}

func (s *systemd) notify(state string) bool {
	sent, err := daemon.SdNotify(false, state)
	if err != nil {
		level.Warn(s.logger).Log("msg", "Cannot notify systemd", "err", err)
	}
	return sent
}

// loop says READY=1 once the agent is, then keeps the status line up to date
// and feeds the watchdog, as long as the agent does its work.
func (s *systemd) loop(ctx context.Context) error {
	if !s.notify("STATUS=" + statusLine(s.agent.Status(), time.Now())) {
		<-ctx.Done()
		return nil
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.notifyReady()

	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		level.Warn(s.logger).Log("msg", "Watchdog not fed", "err", err)
	}
	var feed <-chan time.Time
	if watchdog > 0 {
		feed = pulse.After(watchdog / 3)
	}
	status := pulse.After(statusTick)
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-status:
			status = pulse.After(statusTick)
			s.notify("STATUS=" + statusLine(s.agent.Status(), now))
		case <-feed:
			feed = pulse.After(watchdog / 3)
			// Only real work counts: a process that is stalled for memory still
			// runs a timer now and then.
			if err := s.agent.Alive(watchdog); err != nil {
				level.Error(s.logger).Log("msg", "No progress; not feeding the watchdog", "err", err)
				s.agent.NoteStalled(err.Error())
				continue
			}
			s.agent.NoteStalled("")
			s.notify(daemon.SdNotifyWatchdog)
		}
	}
}

func (s *systemd) awaitReady(ctx context.Context) error {
	ticker := time.NewTicker(startTick)
	defer ticker.Stop()
	for !s.agent.Ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case now := <-ticker.C:
			status := s.agent.Status()
			state := "STATUS=" + statusLine(status, now)
			if status.Waiting != "" {
				// A wait that is known and bounded is not a start that hangs.
				state = fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d\n", extendStart.Microseconds()) + state
			}
			s.notify(state)
		}
	}
	return nil
}

func (s *systemd) notifyReady() {
	s.notify(daemon.SdNotifyReady + "\nSTATUS=" + statusLine(s.agent.Status(), time.Now()))
}

// notifyReloading must be followed by notifyReady.
func (s *systemd) notifyReloading() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (s *systemd) notifyStopping() {
	s.notify(daemon.SdNotifyStopping + "\nSTATUS=stopping")
}

// statusLine is the state in one line: the verdict's headline and, where that says
// that all is well or will be, who is in which state.
func statusLine(s agent.Status, now time.Time) string {
	line := s.Verdict.Headline
	if !s.Verdict.Level.Well() {
		return line
	}
	byState := map[delivery.State][]delivery.Status{}
	for _, d := range s.Destinations {
		byState[d.State] = append(byState[d.State], d)
	}
	var parts []string
	for _, state := range []delivery.State{delivery.Live, delivery.HandingOver, delivery.Behind} {
		if n := len(byState[state]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", state, n))
		}
	}
	if len(parts) == 0 {
		return line
	}
	line += ", " + strings.Join(parts, ", ")
	if behind := byState[delivery.Behind]; len(behind) > 0 {
		line += " (" + backlogLine(behind, now) + ")"
	}
	return line
}

// backlogLine tells for several destinations together: how old the oldest
// unsent sample is, how much is on disk, and when the last will be done.
func backlogLine(behind []delivery.Status, now time.Time) string {
	var bytes int64
	var age time.Duration
	var eta float64
	for _, d := range behind {
		// Destinations share what is on disk.
		bytes = max(bytes, d.BacklogBytes)
		if d.OldestUnsent != nil {
			age = max(age, now.Sub(*d.OldestUnsent))
		}
		if d.ETASeconds < 0 || eta < 0 {
			eta = -1
			continue
		}
		eta = max(eta, d.ETASeconds)
	}
	var parts []string
	if age > 0 {
		parts = append(parts, number.Duration(age))
	}
	parts = append(parts, number.Bytes(bytes))
	if eta > 0 {
		parts = append(parts, "ETA "+number.Duration(time.Duration(eta*float64(time.Second))))
	}
	return strings.Join(parts, ", ")
}
