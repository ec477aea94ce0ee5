package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/coreos/go-systemd/v22/journal"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/config"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/number"
	"github.com/opstrace/opstrace-agent/agent/web"
	"github.com/opstrace/opstrace-agent/scrapeconfig"
)

// addRun adds the command that is meant when none is named.
func (c *cli) addRun() {
	clause := c.app.Command("run", "Scrape and deliver until stopped.").Default()
	flags := &runFlags{}
	flags.register(clause)
	c.command(clause, func() error {
		err := c.run(flags)
		notifyFailure(err)
		return err
	})
}

func (c *cli) run(flags *runFlags) error {
	hup := catchHangup()
	limitModes()
	if err := flags.validate(); err != nil {
		return err
	}
	features, err := flags.parseFeatures()
	if err != nil {
		return err
	}
	webOptions, err := flags.web.options()
	if err != nil {
		return err
	}

	// An error means that the journal is not the reader.
	journaled, _ := journal.StderrIsJournalStream()
	logger := newProcessLog(c.stderr, flags.logForm, flags.logLevel, journaled)
	slog.SetDefault(logger.slog())
	for _, n := range flags.notices {
		level.Warn(logger).Log("msg", "Flag ignored", "reason", n)
	}
	setDefaultRuntime(flags.logLevel)
	setUserAgents()

	file, err := scrapeconfig.ReadFile(wholePath(flags.configFile), logger)
	if err != nil {
		return err
	}
	if err := refuseOwner(os.Geteuid(), wholePath(flags.storagePath)); err != nil {
		return err
	}
	level.Info(logger).Log("msg", "Starting "+appName, "version", version.Info(), "build", version.BuildContext())
	setResources(flags, logger)

	a, err := agent.New(flags.agentOptions(features, logger))
	if err != nil {
		return err
	}
	p := newProcess(flags, logger, a, hup)
	webOptions.Logger = logger
	webOptions.Agent = a
	webOptions.Gatherer = p.gatherer()
	webOptions.Reload = p.requestReload
	webOptions.PrintConfig = scrapeconfig.Print
	webOptions.Flags = c.runFlagValues()
	if err := flags.receive.open(&webOptions, a, flags.limits(), features, logger, p.metrics.registry); err != nil {
		return err
	}
	if p.web, err = web.New(webOptions); err != nil {
		return &usageError{err.Error(), fileHint(err, "the format is described at https://prometheus.io/docs/prometheus/latest/configuration/https/")}
	}
	if err := p.web.Listen(); err != nil {
		return &listenError{err}
	}
	if err := p.run(file); err != nil {
		keyvals := []any{"msg", "Stopped", "err", err}
		if hint := cmp.Or(deniedHint(err, os.Geteuid(), wholePath(flags.storagePath)), systemHint(err)); hint != "" {
			keyvals = append(keyvals, "hint", hint)
		}
		level.Error(logger).Log(keyvals...)
		return reportedError{err}
	}
	level.Info(logger).Log("msg", "Stopped")
	return nil
}

// limitModes keeps what others on this host could read or write out of the modes of all
// that is created from here on: upstream leaves that to the umask, and what starts a
// process may have set it to 0.
func limitModes() {
	syscall.Umask(syscall.Umask(0o077) | 0o027)
}

// loadConfig reads the configuration file.
func loadConfig(path string, logger log.Logger) (*config.Config, error) {
	return scrapeconfig.LoadFile(wholePath(path), logger)
}

func (f *runFlags) agentOptions(features agent.Features, logger *processLog) agent.Options {
	maxClockWait := time.Duration(f.maxClockWait)
	if maxClockWait == 0 {
		maxClockWait = -1
	}
	forgetAfter := time.Duration(f.forgetAfter)
	if forgetAfter == 0 {
		forgetAfter = -1
	}
	return agent.Options{
		StoragePath:             f.storagePath,
		Logger:                  logger,
		LogLevel:                logger,
		BacklogMaxBytes:         int64(f.backlogMaxBytes),
		MinFreeBytes:            int64(f.minFreeBytes),
		SyncInterval:            time.Duration(f.syncInterval),
		WALCompression:          f.walCompression,
		ForgetAfter:             forgetAfter,
		GiveUpRefused:           f.giveUpRefused,
		MaxCatchUpRate:          f.maxCatchUpRate,
		MaxLiveLag:              time.Duration(f.maxLiveLag),
		MinStay:                 time.Duration(f.minStay),
		SegmentSize:             int(f.segmentSize),
		TruncateInterval:        time.Duration(f.truncateInterval),
		DiscoveryReloadInterval: time.Duration(f.discoveryReloadInterval),
		MaxClockWait:            maxClockWait,
		Features:                features,
		Limits:                  f.limits(),
		Receives:                f.receive.remoteWrite || f.receive.otlp,
	}
}

// limits are those that are set; what is not is 0.
func (f *runFlags) limits() limits.Limits {
	return limits.Limits{MaxSeries: f.maxSeries, BodySize: int64(f.bodySize), LabelLength: int(f.labelLength), Labels: f.labels}
}

func (f *webFlags) options() (web.Options, error) {
	o := web.Options{
		ListenAddresses: f.listenAddresses,
		ConfigFile:      f.configFile,
		RoutePrefix:     f.routePrefix,
		EnableLifecycle: f.enableLifecycle,
		EnablePprof:     f.enablePprof,
		ReadTimeout:     time.Duration(f.readTimeout),
		MaxConnections:  f.maxConnections,
	}
	if f.externalURL == "" {
		return o, nil
	}
	u, err := url.Parse(f.externalURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return o, &usageError{fmt.Sprintf("--web.external-url=%s is not an http or https URL", f.externalURL), "write it like https://host.example.org/agent"}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	o.ExternalURL = u
	if o.RoutePrefix == "" {
		o.RoutePrefix = u.Path
	}
	return o, nil
}

// runFlagValues are the flags of run as they are in force, as the status shows
// them. Flags of Prometheus that do nothing here are left out.
func (c *cli) runFlagValues() map[string]string {
	values := map[string]string{}
	for _, f := range c.app.GetCommand("run").Model().Flags {
		if _, foreign := f.Value.(*foreignFlag); !foreign {
			values[f.Name] = f.Value.String()
		}
	}
	return values
}

// gcPercent is where neither the file has runtime.gogc nor the environment GOGC.
// Upstream's 75 is for a server: a heap of an agent is small, and collecting it a little
// more often costs less than the memory (packaging/doc/sizing.md).
const gcPercent = 50

// setDefaultRuntime sets what holds for a configuration file without
// runtime.log_level or runtime.gogc, which upstream keeps in a package variable.
func setDefaultRuntime(lvl string) {
	if os.Getenv("GOGC") == "" {
		config.DefaultRuntimeConfig.GoGC = gcPercent
	}
	config.DefaultRuntimeConfig.LogLevel = config.LogLevel(lvl)
	config.DefaultConfig.Runtime = config.DefaultRuntimeConfig
}

// setResources tells the Go runtime what it may use.
func setResources(flags *runFlags, logger *processLog) {
	if !flags.autoGOMAXPROCS {
		// The runtime follows the container's quota by itself.
		runtime.GOMAXPROCS(runtime.NumCPU())
	}
	if !flags.autoGOMEMLIMIT {
		return
	}
	if err := setMemoryLimit(flags.memlimitRatio, time.Duration(flags.memlimitRefresh), ownMemory); err != nil {
		level.Warn(logger).Log("msg", "Cannot set GOMEMLIMIT", "err", err)
		return
	}
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		level.Info(logger).Log("msg", "Memory limit", "GOMEMLIMIT", number.Bytes(limit))
	}
}

// ownMemory is what the container or the host has for this process.
var ownMemory = memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)

// setMemoryLimit sets GOMEMLIMIT to a part of the memory that there is, again and again
// where refresh is not 0, unless the environment has it.
func setMemoryLimit(ratio float64, refresh time.Duration, memory memlimit.Provider) error {
	_, err := memlimit.Set(
		memlimit.WithRatio(ratio),
		memlimit.WithRefreshInterval(context.Background(), refresh), // as long as the process
		memlimit.WithProvider(memory),
	)
	return err
}
