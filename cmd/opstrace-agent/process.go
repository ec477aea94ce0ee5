package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-kit/log/level"
	"github.com/oklog/run"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/web"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// When a stop that hangs ends by force. Nothing is lost by it: what has been committed
// is on disk, and the next start sends it, some of it again.
const (
	stopDeadline = 5 * time.Second
	// flushDeadline is for a stop that waits for the disk alone: flash storage in use may
	// take many seconds for a sync, and ends it by itself.
	flushDeadline = 15 * time.Second
)

// process is everything that runs, in one group: signals, reloads, the admin
// face, messages to systemd, and the agent.
type process struct {
	flags   *runFlags
	logger  *processLog
	agent   *agent.Agent
	web     *web.Server
	metrics *processMetrics
	systemd systemd

	reloads chan reloadRequest

	// The reload loop's own: the file in force, and why the last one was refused.
	inForce *scrapeconfig.File
	refusal string

	hup  chan os.Signal
	stop chan os.Signal
}

// catchHangup must come before anything slow, such as reading the configuration, or a
// SIGHUP during the start would end the process. It is a reload when the agent is ready.
func catchHangup() chan os.Signal {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return hup
}

func newProcess(flags *runFlags, logger *processLog, a *agent.Agent, hup chan os.Signal) *process {
	p := &process{
		flags:   flags,
		logger:  logger,
		agent:   a,
		metrics: newProcessMetrics(),
		systemd: systemd{agent: a, logger: logger},
		reloads: make(chan reloadRequest),
		hup:     hup,
		stop:    make(chan os.Signal, 2), // the second one must not be missed
	}
	signal.Notify(p.stop, os.Interrupt, syscall.SIGTERM)
	return p
}

// run returns when everything has stopped; after a second signal, or when
// stopping takes too long, at once.
func (p *process) run(file *scrapeconfig.File) error {
	defer signal.Stop(p.hup)
	defer signal.Stop(p.stop)
	p.inForce = file
	p.applyRuntime(file.Config)
	p.metrics.reloaded(nil)

	var g run.Group
	stopping := make(chan struct{})
	p.add(&g, func(ctx context.Context) error {
		defer close(stopping)
		select {
		case sig := <-p.stop:
			level.Info(p.logger).Log("msg", "Stopping", "signal", sig)
		case <-ctx.Done():
		}
		p.systemd.notifyStopping()
		return nil
	})
	p.add(&g, p.reloadLoop)
	p.add(&g, p.systemd.loop)
	if !chosenProcessors(p.flags.autoGOMAXPROCS) {
		p.add(&g, func(ctx context.Context) error {
			followLoad(ctx, p.logger)
			return nil
		})
	}
	p.add(&g, p.leaveStart)
	p.add(&g, p.web.Run)
	p.add(&g, func(ctx context.Context) error {
		if err := p.agent.Run(ctx, file.Config); err != nil {
			return fmt.Errorf("agent: %w", err)
		}
		return nil
	})

	done := make(chan error, 1)
	go func() { done <- g.Run() }()
	select {
	case err := <-done:
		return err
	case <-stopping:
	}
	return p.awaitStop(done)
}

// awaitStop waits for what is being stopped, for as long as it may take.
func (p *process) awaitStop(done <-chan error) error {
	deadline := time.After(stopDeadline)
	flushed := time.After(flushDeadline)
	for {
		select {
		case err := <-done:
			return err
		case sig := <-p.stop:
			return fmt.Errorf("ended by a second signal (%s) before everything had stopped", sig)
		case <-deadline:
			if !p.agent.AwaitsDisk() {
				return fmt.Errorf("ended by force: not everything had stopped after %s", stopDeadline)
			}
			level.Info(p.logger).Log("msg", "Waiting for the disk to write what is left")
		case <-flushed:
			return fmt.Errorf("ended by force: the disk had not written everything after %s; what was delivered since the marks were saved last may be sent again", flushDeadline)
		}
	}
}

// add adds an actor that runs until its context ends. The first actor that
// returns ends all the others.
func (p *process) add(g *run.Group, actor func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	g.Add(func() error {
		if err := actor(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, func(error) { cancel() })
}
