package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The names of the programs.
const (
	agent    = "agent"
	lean     = "P" // what the goals are measured by
	standard = "P, default build"
	vmagent  = "vmagent"
)

// peer is a program that can be run.
type peer struct {
	name   string
	binary string
	what   string // version and how it was built, for people
	ready  string // path that answers 200 once it runs
	// Arguments, of its own directory, its configuration, its address and the sink.
	args func(dir, config, listen, url string) []string
	// Whether the sink is in the configuration, and not in an argument.
	remoteWrite bool
	// Files in its directory that say what was delivered; none: it cannot lose them.
	marks []string
}

// findPeers returns the programs named, built where they have to be, and what keeps the
// others from being measured.
func findPeers(ctx context.Context, cache, agentBinary string, names []string) (peers []peer, missing []error) {
	for _, find := range []struct {
		name string
		peer func() (peer, error)
	}{
		{agent, func() (peer, error) { return agentPeer(agentBinary) }},
		{lean, func() (peer, error) { return prometheusPeer(ctx, cache, lean, "remove_all_sd") }},
		{standard, func() (peer, error) { return prometheusPeer(ctx, cache, standard, "") }},
		{vmagent, func() (peer, error) { return vmagentPeer(ctx, cache) }},
	} {
		if !slices.Contains(names, find.name) {
			continue
		}
		p, err := find.peer()
		if err != nil {
			err = fmt.Errorf("%s is left out: %w", find.name, err)
			fmt.Fprintln(os.Stderr, "bench:", err)
			missing = append(missing, err)
			continue
		}
		peers = append(peers, p)
	}
	return peers, missing
}

func agentPeer(binary string) (peer, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return peer{}, err
	}
	if _, err := os.Stat(binary); err != nil {
		return peer{}, err
	}
	return peer{
		name: agent, binary: binary, what: "opstrace-agent of this tree", ready: "/-/ready", remoteWrite: true,
		marks: []string{"delivery.json", "delivery.json.spare"},
		args:  prometheusArgs,
	}, nil
}

// prometheusPeer is the agent mode of prometheus, built with tags.
func prometheusPeer(ctx context.Context, cache, name, tags string) (peer, error) {
	const module = "github.com/prometheus/prometheus"
	version, err := versionInUse(ctx, module)
	if err != nil {
		return peer{}, err
	}
	s := source{module: module, version: version, command: "cmd/prometheus", tags: tags}
	binary, err := s.build(ctx, cache)
	if err != nil {
		return peer{}, err
	}
	p := peer{
		name: name, binary: binary, what: "prometheus --agent " + version, ready: "/-/ready", remoteWrite: true,
		args: func(dir, config, listen, url string) []string {
			return append([]string{"--agent"}, prometheusArgs(dir, config, listen, url)...)
		},
	}
	if tags != "" {
		p.what += ", -tags=" + tags
	}
	return p, nil
}

func prometheusArgs(dir, config, listen, _ string) []string {
	return []string{"--config.file=" + config, "--storage.agent.path=" + dir, "--web.listen-address=" + listen}
}

// vmagentPeer is the newest vmagent that can be built with the Go that is here, as the
// others are: a newer one may need a newer Go.
func vmagentPeer(ctx context.Context, cache string) (peer, error) {
	const module = "github.com/VictoriaMetrics/VictoriaMetrics"
	versions, err := newestVersions(ctx, module, 10)
	if err != nil {
		return peer{}, err
	}
	err = errors.New("no version of it is known")
	for i, version := range versions {
		s := source{module: module, version: version, command: "app/vmagent"}
		binary, buildErr := s.build(ctx, cache)
		if buildErr != nil {
			err = buildErr
			continue
		}
		what := "vmagent " + version + ", -remoteWrite.forcePromProto"
		if i > 0 {
			what += " (it does not build here in " + strings.Join(versions[:i], ", ") + ")"
		}
		return peer{
			name: vmagent, binary: binary, what: what, ready: "/health",
			args: func(dir, config, listen, url string) []string {
				return []string{
					"-promscrape.config=" + config, "-remoteWrite.tmpDataPath=" + dir, "-httpListenAddr=" + listen,
					"-remoteWrite.url=" + url, "-remoteWrite.forcePromProto",
				}
			},
		}, nil
	}
	return peer{}, err
}

// configuration has the targets, and the sink where the program takes it from there.
func (p peer) configuration(scrape, url string, interval time.Duration) string {
	text := fmt.Sprintf("global:\n  scrape_interval: %s\n", interval)
	if scrape == "" {
		text += "scrape_configs: []\n"
	} else {
		text += "scrape_configs:\n" + scrape
	}
	if p.remoteWrite {
		text += "remote_write:\n  - url: " + url + "\n"
	}
	return text
}
