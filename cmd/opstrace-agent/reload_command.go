package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/go-kit/log"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// reloadTimeout is longer than a reload takes with every endpoint dead.
const reloadTimeout = 30 * time.Second

// errNoAnswer: the agent cannot be asked over HTTP, only by a signal.
var errNoAnswer = errors.New("the agent does not answer over HTTP")

func (c *cli) addReload() {
	clause := c.app.Command("reload", "Make a running agent read its configuration again, and wait for its answer.")
	pid := clause.Flag("pid", "Process to send SIGHUP to where its address does not take a reload.").Int()
	address := &addressFlags{}
	clause.Flag("url", "Where the agent answers, or unix:PATH for a socket. Default: what the flags behind -- tell.").
		PlaceHolder("URL").StringVar(&address.url)
	clause.Flag("http.config.file", "File with password or TLS settings for that address, in promtool's format.").
		PlaceHolder("FILE").StringVar(&address.httpConfigFile)
	flags := clause.Arg("run-flags", "Flags that the agent runs with, after --: they tell its address and its file. Default: those of the installed service.").Strings()
	c.command(clause, func() error {
		args := *flags
		if len(args) == 0 && isInstalled(installRoot) {
			args = serviceArgs(installRoot)
		}
		target, err := parseReloadTarget(args, address)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), reloadTimeout)
		defer cancel()
		words, err := target.post(ctx)
		switch {
		case err == nil:
			outcome := ", which is in force now."
			if strings.Contains(words, "\nhint: ") { // the agent's own
				outcome = ". " + words
			}
			_, err := fmt.Fprintf(c.stdout, "The agent at %s has read its configuration again%s\n", strings.TrimSuffix(redact.URL(target.base), "/"), outcome)
			return err
		case !errors.Is(err, errNoAnswer):
			return err
		case *pid == 0:
			return &failure{err, "name its address with --url, or its flags behind --; where it needs a password or TLS, --http.config.file has it; to signal it instead, --pid"}
		}
		return c.reloadBySignal(*pid, target.configFile)
	})
}

// reloadBySignal checks the file itself, because a signal has no answer.
func (c *cli) reloadBySignal(pid int, configFile string) error {
	if _, err := loadConfig(configFile, log.NewNopLogger()); err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	_, err := fmt.Fprintln(c.stdout, "The file is good, and the agent has been signalled; its log tells the rest.")
	return err
}

// post returns what the agent says of a reload, and errors: errNoAnswer where its listener
// does not take one, and the agent's own words where the reload failed.
func (t reloadTarget) post(ctx context.Context) (words string, err error) {
	if t.base == "" {
		return "", fmt.Errorf("%w: --web.config.file is set", errNoAnswer)
	}
	where, err := url.JoinPath(t.base, "-", "reload")
	if err != nil {
		return "", fmt.Errorf("cannot ask the agent: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, where, nil)
	if err != nil {
		return "", fmt.Errorf("cannot ask the agent: %w", err)
	}
	resp, err := t.client.Do(req)
	if errors.Is(err, context.DeadlineExceeded) {
		return "", fmt.Errorf("the agent has not answered within %s: %w", reloadTimeout, context.DeadlineExceeded)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer resp.Body.Close()
	words = wordsOf(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		return words, nil
	case http.StatusInternalServerError:
		return "", &failure{errors.New(words), "correct that, and reload again: the old configuration goes on"}
	default:
		return "", fmt.Errorf("%w: %s: %s", errNoAnswer, resp.Status, words)
	}
}

// wordsOf reads what the agent says in an answer, or what came of it before the
// connection was lost: the status tells the outcome.
func wordsOf(resp *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return strings.TrimSpace(string(body))
}
