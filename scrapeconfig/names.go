package scrapeconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/opstrace/opstrace-agent/agent/redact"
)

// duplicateError says that the destination at index is not distinguishable
// from one before it.
type duplicateError struct {
	index     int
	msg, hint string
}

func (e *duplicateError) Error() string { return e.msg }

// nameDestinations gives each entry without a name one that is made from
// where it sends to and from nothing else: what is kept on disk for a
// destination is kept under its name, so a name that moved with queue
// settings (upstream's does) or with a rotated secret would lose it. Only
// entries that share their URL are told apart by more: headers, then
// credentials (by name, never by value), then write_relabel_configs.
func nameDestinations(rws []*config.RemoteWriteConfig, logger log.Logger) error {
	var unnamed []int
	for i, rw := range rws {
		if rw.Name == "" {
			unnamed = append(unnamed, i)
		}
	}
	for traits := 1; len(unnamed) > 0; traits++ {
		if traits > maxTraits {
			second := unnamed[1]
			return &duplicateError{
				index: second,
				msg:   "two remote_write entries send the same to " + redact.Text(urlWithoutPassword(rws[second])),
				hint:  "remove one; if both are wanted, give each a name:",
			}
		}
		byName := map[string][]int{}
		for _, i := range unnamed {
			name, err := nameOf(rws[i], traits)
			if err != nil {
				return &duplicateError{index: i, msg: err.Error(), hint: "give the entry a name:"}
			}
			byName[name] = append(byName[name], i)
		}
		unnamed = unnamed[:0]
		for name, alike := range byName {
			if len(alike) > 1 {
				unnamed = append(unnamed, alike...)
				continue
			}
			rws[alike[0]].Name = name
			if traits > 1 {
				level.Warn(logger).Log("msg", "Several remote_write entries have this URL; give each a name, or a change of its headers or credentials makes a new destination of it", "name", name)
			}
		}
		slices.Sort(unnamed)
	}
	return refuseSameNames(rws)
}

func refuseSameNames(rws []*config.RemoteWriteConfig) error {
	seen := map[string]bool{}
	for i, rw := range rws {
		if seen[rw.Name] {
			return &duplicateError{
				index: i,
				msg:   fmt.Sprintf("the name %q is taken by another remote_write entry", rw.Name),
				hint:  "give each of them a name: of its own",
			}
		}
		seen[rw.Name] = true
	}
	return nil
}

const maxTraits = 4

// nameOf returns host-hash, the hash being made from the first so many traits.
func nameOf(rw *config.RemoteWriteConfig, traits int) (string, error) {
	http := rw.HTTPClientConfig
	all := []any{
		urlWithoutPassword(rw),
		[]any{rw.Headers, http.HTTPHeaders},
		[]any{http.BasicAuth, http.Authorization, http.OAuth2, http.TLSConfig, rw.SigV4Config, rw.AzureADConfig, rw.GoogleIAMConfig},
		rw.WriteRelabelConfigs,
	}
	// The types of secrets redact them, so a new secret leaves the name alone.
	b, err := yaml.Marshal(all[:traits])
	if err != nil {
		return "", fmt.Errorf("cannot name the destination: %w", err)
	}
	sum := sha256.Sum256(b)
	return rw.URL.Hostname() + "-" + hex.EncodeToString(sum[:4]), nil
}

func urlWithoutPassword(rw *config.RemoteWriteConfig) string {
	u := *rw.URL.URL
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	return u.String()
}

// explainNames turns a *duplicateError into an *Error. The first own entries
// stand in remote_write, the others in the block.
func (s *source) explainNames(err error, own int) error {
	d, ok := errors.AsType[*duplicateError](err)
	if !ok {
		return err
	}
	return &Error{File: s.path, Line: s.entryLine(d.index, own, "name"), Msg: d.msg, Hint: d.hint}
}
