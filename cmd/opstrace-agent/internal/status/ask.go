package status

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/redact"
)

// UnreachableError says why an agent cannot be asked.
type UnreachableError struct {
	Msg  string
	Hint string
}

func (e *UnreachableError) Error() string { return e.Msg }

// Ask asks the agent below a URL. The view is there with
// an error too, which is an *UnreachableError.
func Ask(ctx context.Context, client *http.Client, base *url.URL) (*View, error) {
	v := &View{URL: base.Redacted(), Health: Unreachable}
	err := v.ask(ctx, client, base)
	if err != nil {
		unreachable := explain(err, v.URL)
		v.Problems = []string{unreachable.Msg}
		v.Status, v.Targets = nil, nil
		return v, unreachable
	}
	v.judge()
	return v, nil
}

func (v *View) ask(ctx context.Context, client *http.Client, base *url.URL) error {
	v.Status = &agent.Status{}
	if err := get(ctx, client, base.JoinPath("api/v1/status/delivery"), v.Status); err != nil {
		return err
	}
	if !v.Ready {
		return nil
	}
	err := get(ctx, client, base.JoinPath("api/v1/status/senders"), &v.Senders)
	// An agent of an older version has none.
	if refused := (*statusError)(nil); err != nil && (!errors.As(err, &refused) || refused.code != http.StatusNotFound) {
		return err
	}
	var found struct {
		ActiveTargets []struct {
			Target
			Health scrape.TargetHealth `json:"health"`
		} `json:"activeTargets"`
	}
	u := base.JoinPath("api/v1/targets")
	u.RawQuery = "state=active"
	err = get(ctx, client, u, &found)
	if refused := (*statusError)(nil); errors.As(err, &refused) && refused.code == http.StatusServiceUnavailable {
		v.Ready = false // it is stopping
		return nil
	}
	if err != nil {
		return err
	}
	v.Targets = &Targets{Failing: []Target{}}
	for _, t := range found.ActiveTargets {
		switch t.Health {
		case scrape.HealthGood:
			v.Targets.Up++
		case scrape.HealthBad:
			v.Targets.Down++
			v.Targets.Failing = append(v.Targets.Failing, t.Target)
		default:
			v.Targets.Unknown++
		}
	}
	slices.SortStableFunc(v.Targets.Failing, func(a, b Target) int {
		return strings.Compare(a.ScrapePool+"\x00"+a.ScrapeURL, b.ScrapePool+"\x00"+b.ScrapeURL)
	})
	return nil
}

// statusError is an answer that is not a success.
type statusError struct {
	code  int
	words string
}

func (e *statusError) Error() string {
	text := fmt.Sprintf("HTTP %d %s", e.code, http.StatusText(e.code))
	if e.words != "" {
		text += ": " + e.words
	}
	return text
}

var errNotOurs = errors.New("the answer is not an agent's")

// maxAnswer bounds what is read: the targets of a large agent are some
// megabytes.
const maxAnswer = 64 << 20

// get decodes the data of an answer in Prometheus' envelope.
func get(ctx context.Context, client *http.Client, u *url.URL, data any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && resp.StatusCode == http.StatusOK {
		return err
	}
	envelope := struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}{}
	err = json.Unmarshal(body, &envelope)
	if resp.StatusCode != http.StatusOK {
		words := envelope.Error
		if words == "" && !strings.HasPrefix(http.DetectContentType(body), "text/html") {
			words = string(body)
		}
		return &statusError{resp.StatusCode, redact.Line(words, maxWords)}
	}
	if err != nil || envelope.Status != "success" || json.Unmarshal(envelope.Data, data) != nil {
		return errNotOurs
	}
	return nil
}

func explain(err error, address string) *UnreachableError {
	if outer := (*url.Error)(nil); errors.As(err, &outer) {
		err = outer.Err
	}
	var refused *statusError
	var unknown x509.UnknownAuthorityError
	hint := "check --url"
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "is it running? If it listens on another address, name that with --url"
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("no answer in time")
		hint = "the agent is overloaded, or something on the way swallows the packets"
	case errors.As(err, &unknown):
		hint = "name the authority of its certificate in a file for --http.config.file"
	case errors.As(err, &refused) && refused.code == http.StatusBadRequest && strings.Contains(refused.words, "HTTPS server"):
		hint = "it listens with TLS: write https:// in --url"
	case errors.As(err, &refused) && refused.code == http.StatusUnauthorized:
		hint = "it asks for a password: put it into a file for --http.config.file"
	case errors.Is(err, errNotOurs), errors.As(err, &refused) && refused.code == http.StatusNotFound:
		hint = "something else answers there, or the agent runs with --web.route-prefix: put that into --url"
	}
	return &UnreachableError{Msg: fmt.Sprintf("cannot ask the agent at %s: %s", address, redact.Line(err.Error(), maxWords)), Hint: hint}
}
