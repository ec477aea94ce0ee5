package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/alecthomas/kingpin/v2"
	commonconfig "github.com/prometheus/common/config"

	"github.com/opstrace/opstrace-agent/cmd/opstrace-agent/internal/status"
)

// statusTimeout is short enough for a monitoring system that runs the command.
const statusTimeout = 10 * time.Second

type statusFlags struct {
	addressFlags
	json bool
}

// addressFlags say where a running agent answers.
type addressFlags struct {
	url            string
	httpConfigFile string
}

func (f *addressFlags) registerAddress(c *cli, clause *kingpin.CmdClause) {
	listen := c.app.GetCommand("run").GetFlag("web.listen-address").Model().Default[0]
	clause.Flag("url", "Where the agent answers.").
		Default("http://" + listen).StringVar(&f.url)
	clause.Flag("http.config.file", "File with password or TLS settings for that address, in promtool's format.").
		PlaceHolder("FILE").StringVar(&f.httpConfigFile)
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

// open returns the address, and a client for it. Errors are a *usageError.
func (f *addressFlags) open() (*url.URL, *http.Client, error) {
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, nil, &usageError{fmt.Sprintf("--url=%s is not an http or https URL", f.url), "write it like http://127.0.0.1:9095"}
	}
	client, err := f.client()
	if err != nil {
		return nil, nil, &usageError{"--http.config.file: " + err.Error(), fileHint(err, "its format is that of promtool's --http.config.file")}
	}
	return base, client, nil
}

// client asks without a proxy, unless the file says so: most often the agent is
// on this host.
func (f *addressFlags) client() (*http.Client, error) {
	settings := &commonconfig.DefaultHTTPClientConfig
	if f.httpConfigFile != "" {
		var err error
		if settings, _, err = commonconfig.LoadHTTPConfigFile(f.httpConfigFile); err != nil {
			return nil, err
		}
	}
	return commonconfig.NewClientFromConfig(*settings, "status")
}
