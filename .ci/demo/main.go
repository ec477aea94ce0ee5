// Command demo starts the sandbox and the agent on loopback and shows samples
// arriving, until it is interrupted or the time given by -for is over. It leaves
// no process and no file behind.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second
	tailLines    = 20
)

func main() {
	// The children are to end with this process, however it ends: the kernel
	// takes the thread that started them for it.
	runtime.LockOSThread()
	agent := flag.String("agent", "bin/opstrace-agent", "the agent's binary")
	sandbox := flag.String("sandbox", "bin/opstrace-sandbox", "the sandbox's binary")
	duration := flag.Duration("for", 0, "end after this time; 0: run until interrupted")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *duration)
		defer cancel()
	}
	d, err := newDemo(*agent, *sandbox)
	if err == nil {
		err = d.run(ctx)
		err = errors.Join(err, d.close(err != nil))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	dir            string
	agent, sandbox *process
	world          addresses
	listen         string // the agent's address
	client         http.Client
}

// addresses are what the sandbox tells about itself in a file.
type addresses struct {
	Push    string `json:"push_url"`
	Control string `json:"control_url"`
	Token   string `json:"token_file"`
	Scrape  string `json:"scrape_config_file"`
}

func newDemo(agent, sandbox string) (*demo, error) {
	dir, err := os.MkdirTemp("", "opstrace-agent-demo-")
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress("127.0.0.1:9095")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	world := filepath.Join(dir, "sandbox")
	return &demo{
		dir:    dir,
		listen: listen,
		client: http.Client{Timeout: 5 * time.Second},
		sandbox: &process{name: "sandbox", path: sandbox, log: filepath.Join(dir, "sandbox.log"),
			args: []string{"--dir=" + world, "--report-interval=0s"}},
		agent: &process{name: "agent", path: agent, log: filepath.Join(dir, "agent.log"),
			args: []string{
				"--config.file=" + filepath.Join(dir, "opstrace-agent.yml"),
				"--storage.agent.path=" + filepath.Join(dir, "data"),
				"--storage.backlog.max-bytes=64MiB",
				"--web.listen-address=" + listen,
			}},
	}, nil
}

// freeAddress returns the wanted address if nobody listens there, and else
// another one.
func freeAddress(wanted string) (string, error) {
	l, err := net.Listen("tcp", wanted)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", err
		}
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// The remote_write block is the one of the Opstrace guide.
const configuration = `global:
  scrape_interval: 1s
  external_labels:
    host: demo
scrape_config_files:
  - %s
scrape_configs:
  - job_name: opstrace-agent
    static_configs:
      - targets: [%q]
remote_write:
  - url: %s
    bearer_token_file: %s
    tls_config:
      insecure_skip_verify: true
`

func (d *demo) run(ctx context.Context) error {
	if err := d.sandbox.start(); err != nil {
		return err
	}
	world := filepath.Join(d.dir, "sandbox", "sandbox.json")
	err := d.await(ctx, d.sandbox, func() bool {
		content, err := os.ReadFile(world)
		return err == nil && json.Unmarshal(content, &d.world) == nil
	})
	if err != nil {
		return err
	}
	text := fmt.Sprintf(configuration, d.world.Scrape, d.listen, d.world.Push, d.world.Token)
	if err := os.WriteFile(filepath.Join(d.dir, "opstrace-agent.yml"), []byte(text), 0o600); err != nil {
		return err
	}
	fmt.Printf("The configuration:\n\n%s\n", "    "+strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
	fmt.Printf("\nThe agent: http://%s/    its log: %s\n\n", d.listen, d.agent.log)
	if err := d.agent.start(); err != nil {
		return err
	}
	err = d.await(ctx, d.agent, func() bool {
		resp, err := d.client.Get("http://" + d.listen + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	if err != nil {
		return err
	}
	return d.show(ctx)
}

// await waits until a process that has been started does what it should.
func (d *demo) await(ctx context.Context, p *process, ready func() bool) error {
	timeout := time.After(startTimeout)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("ended before the %s was ready", p.name)
		case <-p.done:
			return fmt.Errorf("the %s ended: %w", p.name, p.err)
		case <-timeout:
			return fmt.Errorf("the %s is not ready after %s", p.name, startTimeout)
		case <-tick.C:
		}
	}
	return nil
}

// show prints every second what the endpoint has acknowledged.
func (d *demo) show(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	fmt.Printf("%-8s  %12s  %8s  %8s  %8s  %s\n", "time", "acknowledged", "a second", "refused", "missing", "state")
	var last int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.agent.done:
			return fmt.Errorf("the agent ended: %w", d.agent.err)
		case <-d.sandbox.done:
			return fmt.Errorf("the sandbox ended: %w", d.sandbox.err)
		case now := <-tick.C:
			s, err := d.stats()
			if err != nil {
				return err
			}
			fmt.Printf("%-8s  %12d  %8d  %8d  %8d  %s\n", now.Format(time.TimeOnly), s.acknowledged, s.acknowledged-last, s.refused, s.missing, d.state())
			last = s.acknowledged
		}
	}
}

type stats struct {
	acknowledged, refused int64 // samples
	missing               int   // scrapes
}

// stats asks the endpoint: what counts is what arrived there.
func (d *demo) stats() (s stats, err error) {
	var answer struct {
		Tenants map[string]struct {
			Acknowledged int64            `json:"acknowledged"`
			Refused      map[string]int64 `json:"refused"`
		} `json:"tenants"`
		Targets map[string]struct {
			Missing int `json:"missing"`
		} `json:"targets"`
	}
	if err := d.getJSON(d.world.Control+"/stats", &answer); err != nil {
		return s, err
	}
	for _, t := range answer.Tenants {
		s.acknowledged += t.Acknowledged
		for _, n := range t.Refused {
			s.refused += n
		}
	}
	for _, t := range answer.Targets {
		s.missing += t.Missing
	}
	return s, nil
}

// state asks the agent what it thinks of its destination.
func (d *demo) state() string {
	var answer struct {
		Data struct {
			Destinations []struct {
				State     string `json:"state"`
				LastError string `json:"lastError"`
			} `json:"destinations"`
		} `json:"data"`
	}
	if err := d.getJSON("http://"+d.listen+"/api/v1/status/delivery", &answer); err != nil {
		return err.Error()
	}
	var states []string
	for _, dest := range answer.Data.Destinations {
		states = append(states, strings.TrimSpace(dest.State+" "+dest.LastError))
	}
	return strings.Join(states, ", ")
}

func (d *demo) getJSON(url string, into any) error {
	resp, err := d.client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// close stops the agent first, so that it can deliver what it has, and counts
// what arrived. It fails if that is nothing.
func (d *demo) close(failed bool) error {
	err := d.agent.stop()
	if !failed && err == nil {
		err = d.conclude()
	}
	err = errors.Join(err, d.sandbox.stop())
	if failed || err != nil {
		for _, p := range []*process{d.sandbox, d.agent} {
			fmt.Fprintf(os.Stderr, "\nThe end of the %s's log:\n%s", p.name, p.tail())
		}
	}
	return errors.Join(err, os.RemoveAll(d.dir))
}

func (d *demo) conclude() error {
	s, err := d.stats()
	if err != nil {
		return err
	}
	if s.acknowledged == 0 {
		return errors.New("no sample arrived")
	}
	fmt.Printf("\n%d samples arrived, %d were refused, %d scrapes are missing.\n", s.acknowledged, s.refused, s.missing)
	return nil
}

func (p *process) tail() []byte {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return nil
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-tailLines):], nil)
}
