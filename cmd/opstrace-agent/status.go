package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/status"
)

// statusTimeout is short enough for a monitoring system that runs the command.
const statusTimeout = 10 * time.Second

type statusFlags struct {
	addressFlags
	json bool
}

func (c *cli) addStatus() {
	clause := c.app.Command("status", "Show how a running agent is. Exit code 0: all is well; 1: something needs a look; 2: it cannot be asked.")
	flags := &statusFlags{}
	flags.registerAddress(c, clause)
	clause.Flag("json", "Print JSON.").BoolVar(&flags.json)
	c.command(clause, func() error { return c.status(flags, time.Now) })
}

func (c *cli) status(flags *statusFlags, now func() time.Time) error {
	base, client, err := flags.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), statusTimeout)
	defer cancel()
	view, askErr := status.Ask(ctx, client, base)
	if flags.json {
		text, err := json.MarshalIndent(view, "", "  ")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c.stdout, "%s\n", text); err != nil {
			return err
		}
	}
	if unreachable := (*status.UnreachableError)(nil); errors.As(askErr, &unreachable) {
		return &usageError{unreachable.Msg, unreachable.Hint} // its exit code is the one meant here
	}
	if !flags.json {
		if err := view.Print(c.stdout, now()); err != nil {
			return err
		}
	}
	if view.Health != status.Healthy {
		return reportedError{fmt.Errorf("the agent is %s", view.Health)}
	}
	return nil
}
