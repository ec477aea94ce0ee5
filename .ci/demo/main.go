// Command demo starts the sandbox and the agent on loopback and shows what the
// product is for: the endpoint dies, the agent is killed and started again, the
// endpoint comes back, and nothing is missing. It runs until it is interrupted or
// the time given by -for is over, and leaves no process and no file behind.
package main

import (
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

const startTimeout = 30 * time.Second

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
		err = d.run(ctx, plot(d, *duration))
		err = d.close(err, errors.Is(ctx.Err(), context.DeadlineExceeded))
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
	d := &demo{
		dir:    dir,
		listen: listen,
		client: http.Client{Timeout: 5 * time.Second},
	}
	d.sandbox = &process{name: "sandbox", path: sandbox, log: filepath.Join(dir, "sandbox.log"),
		args: []string{"--dir=" + filepath.Join(dir, "sandbox"), "--report-interval=0s"}}
	d.agent = &process{name: "agent", path: agent, log: filepath.Join(dir, "agent.log"),
		args: []string{
			"--config.file=" + filepath.Join(dir, "opstrace-agent.yml"),
			"--storage.agent.path=" + d.storage(),
			"--storage.backlog.max-bytes=64MiB",
			"--web.listen-address=" + listen,
		}}
	return d, nil
}

// storage is where the agent keeps samples and its ledger.
func (d *demo) storage() string { return filepath.Join(d.dir, "data") }

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

// run returns nil when ctx has ended, in whatever state things are.
func (d *demo) run(ctx context.Context, acts []act) error {
	if err := d.sandbox.start(); err != nil {
		return err
	}
	world := filepath.Join(d.dir, "sandbox", "sandbox.json")
	err := d.await(ctx, d.sandbox, func() bool {
		content, err := os.ReadFile(world)
		return err == nil && json.Unmarshal(content, &d.world) == nil
	})
	if err != nil || ctx.Err() != nil {
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
	if err := d.await(ctx, d.agent, d.agentReady); err != nil || ctx.Err() != nil {
		return err
	}
	return d.play(ctx, acts)
}

func (d *demo) agentReady() bool {
	resp, err := d.client.Get("http://" + d.listen + "/-/ready")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// await waits until a process that has been started does what it should, or ctx
// ends.
func (d *demo) await(ctx context.Context, p *process, ready func() bool) error {
	timeout := time.After(startTimeout)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return nil
		case <-p.done:
			return fmt.Errorf("the %s ended: %w", p.name, p.err)
		case <-timeout:
			return fmt.Errorf("the %s is not ready after %s", p.name, startTimeout)
		case <-tick.C:
		}
	}
	return nil
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

// control tells the sandbox to do something.
func (d *demo) control(action string) error {
	resp, err := d.client.Post(d.world.Control+"/"+action, "", http.NoBody)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", action, resp.Status)
	}
	return nil
}
