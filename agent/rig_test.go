package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/agenttest"
	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/delivery/ledger"
)

// rig is an endpoint, targets, and an agent between them.
type rig struct {
	t        testing.TB
	dir      string
	options  childOptions
	endpoint *agenttest.Endpoint
	targets  *agenttest.Targets
	global   string // lines of the global section
	writes   string // remote_write entries
	jobs     string // further scrape_configs
	interval time.Duration
	env      []string // of the agent's process
	setBack  bool     // for the agent, the clock was: what is sent again is uncertain
	// killedFull: it is killed on a full disk. What it had sent and not noted is evicted
	// at the start, before it can be sent again: nobody knows that it was stored.
	killedFull bool
	damaged    bool // the test damages what is on disk
	// vanishes: the storage does under a live queue, whose last requests may be stored
	// although nothing is left to tell which samples they had.
	vanishes bool
	uid      int                 // that the agent runs as, if it is not that of the test
	place    func(pid int) error // puts the agent into a group of processes, if any

	cmd  *exec.Cmd
	addr string
	log  *syncBuffer
	gone chan struct{} // closed when the process has ended
	how  error         // how it ended; to be read when it has
}

// newRig starts an endpoint and a place for targets.
func newRig(t testing.TB, manners agenttest.Manners) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), interval: 200 * time.Millisecond, log: &syncBuffer{}}
	var err error
	if r.endpoint, err = agenttest.NewEndpoint(agenttest.Options{Manners: manners}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.endpoint.Close)
	if r.targets, err = agenttest.NewTargets("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.targets.Close)
	r.options = childOptions{
		StoragePath: filepath.Join(r.dir, "data"), SyncInterval: 2 * time.Second,
		MaxLiveLag: 3 * time.Second, MinStay: 500 * time.Millisecond, TruncateInterval: time.Hour, MaxClk: -1,
		SegmentSize: 64 << 10,
	}
	r.writes = r.write("one", r.endpoint, "")
	t.Cleanup(func() {
		if r.cmd != nil {
			_ = r.cmd.Process.Kill()
			<-r.gone
		}
		if t.Failed() {
			t.Logf("log of the agent:\n%s", r.log)
		}
	})
	return r
}

// write is a remote_write entry as the Opstrace guide has it, but with short
// back-offs. extra lines are indented by four spaces.
func (r *rig) write(name string, e *agenttest.Endpoint, extra string) string {
	token := filepath.Join(r.dir, "token")
	if _, err := os.Stat(token); err != nil {
		if err := os.WriteFile(token, []byte(agenttest.DefaultToken+"\n"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	return fmt.Sprintf(`  - name: %s
    url: %s
    bearer_token_file: %s
    tls_config: {insecure_skip_verify: true}
    remote_timeout: 5s
    queue_config: {batch_send_deadline: 300ms, min_backoff: 30ms, max_backoff: 200ms, max_samples_per_send: 500, capacity: 2500}
    metadata_config: {send: false}
%s`, name, e.URL(), token, extra)
}

func (r *rig) configFile() string { return filepath.Join(r.dir, "config.yml") }

// configure writes the agent's configuration file.
func (r *rig) configure() {
	r.t.Helper()
	c := fmt.Sprintf("global:\n  scrape_interval: %s\n  scrape_timeout: %s\n%s\nremote_write:\n%s\nscrape_configs:\n%s\n",
		r.interval.String(), r.interval.String(), r.global, r.writes, r.targets.ScrapeConfig("fake", r.interval)+r.jobs)
	if err := os.WriteFile(r.configFile(), []byte(c), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addrFile() string { return filepath.Join(r.dir, "addr") }

// launch starts the agent.
func (r *rig) launch() {
	r.t.Helper()
	r.configure()
	addrFile := r.addrFile()
	_ = os.Remove(addrFile)
	in, err := json.Marshal(childConfig{Options: r.options, ConfigFile: r.configFile(), AddrFile: addrFile})
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command(os.Args[0])
	if r.uid != 0 {
		r.giveAway()
	}
	r.cmd.Env = append(os.Environ(), append(r.env, childEnv+"=1")...)
	r.cmd.Stdin = bytes.NewReader(in)
	r.cmd.Stderr = r.log
	r.cmd.Stdout = r.log
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		r.t.Fatal(err)
	}
	if r.place != nil {
		if err := r.place(r.cmd.Process.Pid); err != nil {
			r.t.Fatal(err)
		}
	}
	gone := make(chan struct{})
	r.gone = gone
	go func(cmd *exec.Cmd) {
		defer close(gone)
		r.how = cmd.Wait()
	}(r.cmd)
}

// start starts the agent and waits until it is ready.
func (r *rig) start() {
	r.t.Helper()
	r.launch()
	r.eventually("the agent to be ready", func() error {
		b, err := os.ReadFile(r.addrFile())
		if err != nil {
			return err
		}
		r.addr = string(b)
		if !r.status().Ready {
			return errors.New("not ready")
		}
		return nil
	})
}

// inProcess starts an agent in the process of the test. stop ends it.
func (r *rig) inProcess(o agent.Options) (a *agent.Agent, stop func()) {
	r.t.Helper()
	r.configure()
	o.StoragePath = r.options.StoragePath
	a, err := agent.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	cfg, err := loadConfig(r.configFile())
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(stop)
	return a, stop
}

// hung is far longer than a stop or a reload takes on a loaded machine, and
// shorter than an endpoint of a test that hangs would keep it.
const hung = 20 * time.Second

// stop sends SIGTERM and waits for the process to end, which must not depend on
// an endpoint.
func (r *rig) stop() {
	r.t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.gone:
		if r.how != nil {
			r.t.Fatalf("the agent ended with %v", r.how)
		}
	case <-time.After(hung):
		_ = r.cmd.Process.Signal(syscall.SIGQUIT)
		<-r.gone
		r.t.Fatal("the agent did not stop")
	}
	r.cmd, r.gone = nil, nil
}

func (r *rig) kill() {
	r.t.Helper()
	_ = r.cmd.Process.Kill()
	<-r.gone
	r.cmd, r.gone = nil, nil
}

func (r *rig) get(path string) ([]byte, int, error) {
	resp, err := http.Get("http://" + r.addr + path)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return b, resp.StatusCode, err
}

func (r *rig) status() agent.Status {
	var s agent.Status
	if b, _, err := r.get("/status"); err == nil {
		_ = json.Unmarshal(b, &s)
	}
	return s
}

func (r *rig) destination(name string) delivery.Status {
	for _, d := range r.status().Destinations {
		if d.Name == name {
			return d
		}
	}
	return delivery.Status{}
}

// reload returns the error that the agent answers.
func (r *rig) reload() error {
	r.t.Helper()
	r.configure()
	b, code, err := r.get("/reload")
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return errors.New(strings.TrimSpace(string(b)))
	}
	return nil
}

// patience bounds every wait of the tests; on a loaded machine it is long, and
// no test passes by waiting for it.
const patience = 60 * time.Second

func (r *rig) eventually(what string, ok func() error) {
	r.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
		select {
		case <-r.gone:
			r.t.Fatalf("waiting for %s: the agent ended: %v", what, r.how)
		default:
		}
	}
	r.t.Fatalf("waiting for %s: %v", what, err)
}

func (r *rig) awaitState(name string, want delivery.State) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%s to be %s", name, want), func() error {
		if s := r.destination(name); s.State != want {
			return fmt.Errorf("it is %q (last error %q)", s.State, s.LastError)
		}
		return nil
	})
}

// awaitScrapes waits until a target has answered n more scrapes, which the agent
// has committed.
func (r *rig) awaitScrapes(target *agenttest.Target, n int) {
	r.t.Helper()
	from := len(target.Answered())
	r.eventually(fmt.Sprintf("%d scrapes", n), func() error {
		if got := len(target.Answered()) - from; got < n {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// outage takes the endpoint down for what is done meanwhile.
func (r *rig) outage(meanwhile func()) {
	r.t.Helper()
	if err := r.endpoint.Down(); err != nil {
		r.t.Fatal(err)
	}
	meanwhile()
	if err := r.endpoint.Up(); err != nil {
		r.t.Fatal(err)
	}
}

// awaitStored waits until everything that targets have answered by now is stored
// at e, in a metric (default: agenttest.ScrapesMetric).
func (r *rig) awaitStored(e *agenttest.Endpoint, metric string, targets ...*agenttest.Target) {
	r.t.Helper()
	now := time.Now()
	r.eventually("every scrape to arrive", func() error {
		s := e.Snapshot()
		for _, target := range targets {
			if err := s.Scrapes(target, metric, now).Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

// awaitAll is awaitStored, and checks that nothing was lost or overtaken.
func (r *rig) awaitAll(e *agenttest.Endpoint, targets ...*agenttest.Target) {
	r.t.Helper()
	r.awaitStored(e, "", targets...)
	r.checkNothingLost(e)
}

func (r *rig) checkNothingLost(e *agenttest.Endpoint) {
	r.t.Helper()
	// What was refused with others may be on its way by itself.
	r.eventually("what was refused to be stored", func() error {
		if lost := e.Snapshot().Lost(); len(lost) > 0 {
			return fmt.Errorf("%d samples were refused or silently lost, for example %v at %d: %s", len(lost), lost[0].Labels, lost[0].Sample.T, lost[0].Reason)
		}
		return nil
	})
	if err := e.Snapshot().CheckInOrder(); err != nil {
		r.t.Error(err)
	}
}

// lostByCommits is the most that commits that failed can have lost: all series of a scrape.
func (r *rig) lostByCommits(e *agenttest.Endpoint) uint64 {
	failed := strings.Count(r.log.String(), "Scrape commit failed")
	if failed == 0 {
		return 0
	}
	return uint64(failed * len(e.Snapshot().Series()))
}

// awaitLedger stops scraping, waits until a destination's ledger adds up and
// agrees with what the endpoint holds, and returns it.
func (r *rig) awaitLedger(name string, e *agenttest.Endpoint) ledger.Terms {
	r.t.Helper()
	for _, target := range r.targets.List() {
		r.targets.Remove(target)
	}
	if err := r.reload(); err != nil { // with nothing to scrape
		r.t.Fatal(err)
	}
	var l ledger.Terms
	r.eventually("the ledger to add up", func() error {
		l = r.destination(name).Ledger
		stored := uint64(e.Snapshot().Accepted)
		if r.setBack {
			stored -= ledger.Total(l.Uncertain)
		}
		switch {
		case l.Appended != l.Sum():
			return fmt.Errorf("appended %d, accounted for %d: %+v", l.Appended, l.Sum(), l)
		case l.Lost > r.lostByCommits(e) && !r.damaged:
			return fmt.Errorf("%d samples were lost: %+v", l.Lost, l)
		case l.OnDisk != 0:
			return fmt.Errorf("%d still on disk", l.OnDisk)
		case r.killedFull && stored > l.Delivered && stored <= l.Delivered+l.Evicted:
		case r.vanishes && stored > l.Delivered && stored <= l.Delivered+l.Lost:
		case l.Delivered != stored:
			return fmt.Errorf("delivered %d, the endpoint holds %d: %+v", l.Delivered, stored, l)
		}
		return nil
	})
	return l
}

// syncBuffer is written by the agent's process and read by the test.
type syncBuffer struct {
	mtx sync.Mutex
	b   bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.b.String()
}
