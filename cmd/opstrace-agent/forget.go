package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opstrace/opstrace-agent/agent/redact"
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
	words := wordsOf(resp)
	if resp.StatusCode == http.StatusOK {
		_, err := fmt.Fprintln(c.stdout, words)
		return err
	}
	if strings.Contains(words, "\nhint: ") {
		return errors.New(words) // the agent's own
	}
	return &failure{fmt.Errorf("the agent answers %s: %s", resp.Status, redact.Line(words, 200)), hintOfAnswer(resp.StatusCode)}
}

// hintOfAnswer is what to do about an answer that is not what an agent says to what it
// was asked.
func hintOfAnswer(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "it asks for a password: put it into a file for --http.config.file"
	case http.StatusServiceUnavailable:
		return "it starts or stops: try again in a moment"
	case http.StatusBadRequest:
		return "if it listens with TLS, write https:// in --url"
	}
	return "something else answers there, or the agent runs with --web.route-prefix: put that into --url"
}
