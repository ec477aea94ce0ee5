package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// forgetTimeout is longer than the agent takes with every endpoint dead.
const forgetTimeout = 30 * time.Second

func (c *cli) addForget() {
	clause := c.app.Command("forget", "Make a running agent drop what it keeps for a destination that is gone from the configuration.")
	flags := &addressFlags{}
	flags.registerAddress(c, clause)
	name := clause.Arg("name", "The destination's name, as status shows it.").Required().String()
	c.command(clause, func() error { return c.forget(flags, *name) })
}

func (c *cli) forget(flags *addressFlags, name string) error {
	base, client, err := flags.open()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), forgetTimeout)
	defer cancel()
	u := base.JoinPath("-", "forget")
	u.RawQuery = url.Values{"destination": {name}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), nil)
	if err != nil {
		return fmt.Errorf("cannot ask the agent: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return &failure{fmt.Errorf("cannot ask the agent: %w", err), "start the agent, or name the address where it answers with --url"}
	}
	defer resp.Body.Close()
	words, err := wordsOf(resp)
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		_, err := fmt.Fprintln(c.stdout, words)
		return err
	case http.StatusNotFound, http.StatusConflict, http.StatusForbidden, http.StatusServiceUnavailable:
		return errors.New(words) // with a hint of the agent's own
	default:
		return fmt.Errorf("the agent answers %s: %s", resp.Status, words)
	}
}
