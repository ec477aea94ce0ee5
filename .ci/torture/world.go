package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opstrace/opstrace-agent/agent/agenttest"
)

// world is the agent, its targets and its destinations, in a directory of its own.
type world struct {
	dir          string
	url          string // of the agent
	agent        *process
	targets      *agenttest.Targets
	scraped      []*target
	odd          *agenttest.Target
	destinations []*destination
	config       configuration
	program      program
	disk         *disk
	noDisk       string // why there is none
	names        *names
	noNames      string // why there are none
	clock        clock  // empty: it cannot be set
	sender       *sender
	noSender     string // why there is none
}

// target is one of a row of targets.
type target struct {
	targetRow

	*agenttest.Target
}

// targetRow is what a target shows.
type targetRow struct {
	name    string
	options agenttest.TargetOptions
	metrics []string // of which each scrape has every series
	samples int      // of a scrape at least
	sent    bool     // the sender scrapes it, and not the agent
}

// reported are the samples that upstream adds to each scrape.
const reported = 5

// oddSeries of the target that gives trouble.
const oddSeries = 20

const gauges, churn, histograms, floatHistograms = "agenttest_gauge", "agenttest_churn", "agenttest_histogram", "agenttest_float_histogram"

var targets = []targetRow{
	{"plain", agenttest.TargetOptions{Series: 50}, []string{agenttest.ScrapesMetric, gauges}, 51, false},
	{"churn", agenttest.TargetOptions{Series: 10, Churn: 5}, []string{agenttest.ScrapesMetric, gauges}, 16, false},
	{"explicit", agenttest.TargetOptions{Explicit: []time.Duration{-5 * time.Second, 9 * time.Minute}}, []string{agenttest.ScrapesMetric, "agenttest_explicit"}, 3, false},
	{"histograms", agenttest.TargetOptions{Histograms: 3, FloatHistograms: 2, Exemplars: true}, []string{agenttest.ScrapesMetric, histograms, floatHistograms}, 6, false},
	{"hostile", agenttest.TargetOptions{Hostile: true}, []string{agenttest.ScrapesMetric}, 10, false},
	{oddTarget, agenttest.TargetOptions{Series: oddSeries}, []string{agenttest.ScrapesMetric}, 1, false},
	{"sent", agenttest.TargetOptions{Series: 30, Histograms: 2, FloatHistograms: 1, Exemplars: true}, []string{agenttest.ScrapesMetric, gauges, histograms, floatHistograms}, 34, true},
}

// memory is what the agent may take of it, in MiB.
const memory = 192

// budget is what the agent may take on disk, in MiB.
const budget = 4

// newWorld makes everything but starts no agent. Close it.
func newWorld(dir string, p program, s schedule) (w *world, err error) {
	w = &world{dir: dir, program: p, noDisk: "nothing needs a disk", config: configuration{changes: map[string]int{}, scraping: true}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if has(s, slices.Concat(ofDisk, ofDevice)) {
		if w.disk, err = mountDisk(w.storage()); err != nil {
			w.noDisk = err.Error()
		} else {
			w.noDisk = ""
		}
	}
	if w.targets, err = agenttest.NewTargets("127.0.0.1:0"); err != nil {
		return w, err
	}
	for _, row := range targets {
		t := &target{row, w.targets.Add(row.name, row.options)}
		w.scraped = append(w.scraped, t)
		if row.name == oddTarget {
			w.odd = t.Target
		}
	}
	for _, row := range destinations {
		d, err := newDestination(row, dir)
		if err != nil {
			return w, err
		}
		w.destinations = append(w.destinations, d)
	}
	addresses, err := freeAddresses()
	if err != nil {
		return w, err
	}
	w.url = "http://" + addresses[0]
	w.agent = newProcess("the agent", p.path, w.dir, w.storage(), addresses[0])
	switch {
	case p.clock:
		w.noSender = "a sender has no clock that can be set"
	case p.other != "":
		w.noSender = "another version may take nothing"
	default:
		w.agent.args = append(w.agent.args, "--web.enable-remote-write-receiver", "--receive.sync")
		if w.sender, err = w.newSender(s, addresses[1]); err != nil {
			return w, err
		}
	}
	if w.names, err = newNames(dir); err != nil {
		w.noNames = err.Error()
	} else {
		w.agent.before = w.names.command()
	}
	if p.clock {
		w.clock = clock(filepath.Join(dir, "clock"))
		w.agent.env = append(w.agent.env, asCommand, settableClock+string(w.clock))
		if err := w.clock.set(0); err != nil {
			return w, err
		}
	}
	return w, w.writeConfig()
}

// newProcess is an agent with times that are short beside a run, whose files are in dir.
func newProcess(name, path, dir, storage, address string) *process {
	return &process{
		name: name, path: path, log: filepath.Join(dir, "agent.log"), env: []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", memory)},
		args: []string{
			"--config.file=" + configIn(dir),
			"--storage.agent.path=" + storage,
			fmt.Sprintf("--storage.backlog.max-bytes=%dMiB", budget),
			"--storage.agent.wal-segment-size=32KiB",
			"--storage.agent.wal-truncate-frequency=15s",
			"--storage.sync-interval=" + syncInterval.String(),
			"--delivery.min-stay=3s",
			"--delivery.max-live-lag=10s",
			"--clock.max-wait=3s",
			"--web.listen-address=" + address,
		},
	}
}

// program is the agent's.
type program struct {
	path  string
	other string // an older or newer version of it; empty: there is none
	clock bool   // it is the test binary, whose clock can be set
}

// freeAddresses are two that nobody listens on, below those that are given to whoever
// connects: a process that is started again needs the same. Another run that begins now looks
// elsewhere first, or both would take what neither listens on yet.
func freeAddresses() (of [2]string, err error) {
	found := 0
	for port := 20000 + os.Getpid()%1500*8; port < 32000; port++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer l.Close()
		of[found] = l.Addr().String()
		if found++; found == len(of) {
			return of, nil
		}
	}
	return of, fmt.Errorf("no two ports are free on 127.0.0.1")
}

func (w *world) storage() string { return filepath.Join(w.dir, "data") }

func (w *world) configFile() string { return configIn(w.dir) }

func configIn(dir string) string { return filepath.Join(dir, "agent.yml") }

// reconfigure writes the file anew and has it read.
func (w *world) reconfigure(change func(*configuration)) error {
	change(&w.config)
	if err := w.writeConfig(); err != nil {
		return err
	}
	return w.agent.signal(syscall.SIGHUP)
}

func (w *world) writeConfig() error {
	content := w.config.text(w)
	if w.config.spoilt == "gone" {
		return os.RemoveAll(w.configFile())
	}
	return replace(w.configFile(), w.config.spoil(content))
}

// replace writes a file as an editor does: a process that starts meanwhile must not find
// half of it.
func replace(file, content string) error {
	aside := file + ".new"
	if err := os.WriteFile(aside, []byte(content), 0o640); err != nil {
		return err
	}
	return os.Rename(aside, file)
}

// write leaves a file for people.
func (w *world) write(name, content string) error {
	return os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o640)
}

// writeRequests leaves a line for each request that an endpoint has had.
func (w *world) writeRequests() error {
	for _, d := range w.destinations {
		var b strings.Builder
		for _, r := range d.endpoint.Snapshot().Requests {
			fmt.Fprintf(&b, "%s %s status %d, %d samples, %d bytes\n", r.At.Format(stamp), r.Done.Sub(r.At).Round(time.Millisecond), r.Status, r.Samples, r.Bytes)
		}
		if err := w.write(d.name+".requests", b.String()); err != nil {
			return err
		}
	}
	return nil
}

// processes are the agent and what sends to it.
func (w *world) processes() []*process {
	all := []*process{w.agent}
	if w.sender != nil {
		all = append(all, w.sender.process)
	}
	return all
}

// close ends everything and leaves the directory.
func (w *world) close() {
	if w.sender != nil {
		w.sender.close()
	}
	if w.agent != nil {
		w.agent.close()
	}
	if w.targets != nil {
		w.targets.Close()
	}
	for _, d := range w.destinations {
		d.endpoint.Close()
	}
	if w.disk != nil {
		w.disk.close()
	}
}
