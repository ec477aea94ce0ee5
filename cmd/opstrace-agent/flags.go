package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/web"
)

// runFlags are what cannot be reloaded; everything else is in the
// configuration file. A flag has Prometheus' name where Prometheus has one.
type runFlags struct {
	configFile         string
	autoReload         bool
	autoReloadInterval model.Duration

	storagePath      string
	backlogMaxBytes  units.Base2Bytes
	minFreeBytes     units.Base2Bytes
	segmentSize      units.Base2Bytes
	syncInterval     model.Duration
	walCompression   string
	truncateInterval model.Duration
	maxCatchUpRate   float64
	maxLiveLag       model.Duration
	minStay          model.Duration
	forgetAfter      model.Duration
	giveUpRefused    []string
	maxClockWait     model.Duration

	discoveryReloadInterval model.Duration

	maxSeries   uint64
	bodySize    units.Base2Bytes
	labelLength units.Base2Bytes
	labels      int

	web     webFlags
	receive receiveFlags

	autoGOMAXPROCS    bool
	autoGOMEMLIMIT    bool
	memlimitRatio     float64
	memlimitRefresh   model.Duration
	logLevel, logForm string
	features          []string

	// notices are for flags that were accepted and do nothing.
	notices []string
	// refused are names of flags of a server that were given.
	refused []string
}

type webFlags struct {
	listenAddresses []string
	configFile      string
	externalURL     string
	routePrefix     string
	enableLifecycle bool
	enablePprof     bool
	readTimeout     model.Duration
	maxConnections  int
}

func (f *runFlags) register(cmd *kingpin.CmdClause) {
	cmd.Flag("config.file", "The configuration file.").
		Default("opstrace-agent.yml").StringVar(&f.configFile)
	cmd.Flag("config.auto-reload", "Reload when the configuration file changes.").
		BoolVar(&f.autoReload)
	cmd.Flag("config.auto-reload-interval", "How often to look for a change.").
		Default("30s").SetValue(&f.autoReloadInterval)

	f.registerStorage(cmd)
	f.registerLimits(cmd)
	f.registerWeb(cmd)
	f.receive.register(cmd)
	f.registerProcess(cmd)
	f.registerPrometheus(cmd)
}

func (f *runFlags) registerStorage(cmd *kingpin.CmdClause) {
	cmd.Flag("storage.agent.path", "Where samples are kept until they are delivered.").
		Default("data-agent/").StringVar(&f.storagePath)
	cmd.Flag("storage.backlog.max-bytes", "Upper bound of what is kept, for example 512MiB; beyond it the oldest goes first. 0: a tenth of the file system, at most 1GiB.").
		Default("0").BytesVar(&f.backlogMaxBytes)
	cmd.Flag("storage.min-free-bytes", "Free space to leave on the file system. 0: chosen from its size.").
		Default("0").BytesVar(&f.minFreeBytes)
	cmd.Flag("storage.sync-interval", "How long written samples that are not delivered may wait before they are forced to the disk: a power cut loses at most this much. 0: only when a segment is full.").
		Default("30s").SetValue(&f.syncInterval)
	cmd.Flag("storage.agent.wal-compression-type", "How samples are compressed on disk: snappy, or zstd, which writes about half as much and takes some MiB of memory and a tenth of the CPU time more.").
		Default(compression.Snappy).EnumVar(&f.walCompression, compression.Snappy, compression.Zstd)
	cmd.Flag("storage.forget-after", "How long to keep what belongs to a destination that is gone from the configuration. 0: drop it at once.").
		Default("1d").SetValue(&f.forgetAfter)
	cmd.Flag("delivery.max-catch-up-rate", "Upper bound of the rate at which a backlog is sent, in samples per second. 0: none.").
		Default("0").Float64Var(&f.maxCatchUpRate)
	cmd.Flag("delivery.give-up-refused", "Give up what the remote_write entry of this name answers with 4xx (but 413 and 429), as the specification of remote write says, instead of holding it until it is taken. May be given more than once.").
		PlaceHolder("NAME").StringsVar(&f.giveUpRefused)
	cmd.Flag("delivery.max-live-lag", "How long an endpoint may acknowledge nothing before it counts as behind.").
		Default("2m").SetValue(&f.maxLiveLag)
	cmd.Flag("clock.max-wait", "How long to wait at start for a clock that lies before a time that it has had, or before 2026. 0: do not wait.").
		Default("2m").SetValue(&f.maxClockWait)

	cmd.Flag("delivery.min-stay", "How long an endpoint stays behind at least.").
		Hidden().Default("30s").SetValue(&f.minStay)
	cmd.Flag("storage.agent.wal-segment-size", "Size of the segments on disk, a multiple of 32KiB. 0: from the budget.").
		Hidden().Default("0").BytesVar(&f.segmentSize)
	cmd.Flag("storage.agent.wal-truncate-frequency", "How often segments are given up that every endpoint has.").
		Hidden().Default("15m").SetValue(&f.truncateInterval)
}

// registerLimits adds what keeps one target from hurting the others.
func (f *runFlags) registerLimits(cmd *kingpin.CmdClause) {
	cmd.Flag("limits.max-series", "Number of series in all; above it, new ones are dropped. 0: from the memory.").
		Default("0").Uint64Var(&f.maxSeries)
	cmd.Flag("limits.body-size", "What a target may answer, after decompression; body_size_limit in the configuration file wins. 0: from the memory, at most 15MiB.").
		Default("0").BytesVar(&f.bodySize)
	cmd.Flag("limits.label-length", "Length of names and values of labels; series with longer ones are dropped. 0: 16KiB.").
		Default("0").BytesVar(&f.labelLength)
	cmd.Flag("limits.labels", "Number of labels of a series; series with more are dropped. 0: 256.").
		Default("0").IntVar(&f.labels)
}

func (f *runFlags) registerWeb(cmd *kingpin.CmdClause) {
	cmd.Flag("web.listen-address", "Address of metrics, API and status, or unix:PATH for a socket. Can be repeated.").
		Default("127.0.0.1:9095").StringsVar(&f.web.listenAddresses)
	cmd.Flag("web.config.file", "File with TLS and authentication for that address, in exporter-toolkit's format.").
		PlaceHolder("FILE").StringVar(&f.web.configFile)
	cmd.Flag("web.external-url", "URL under which others reach that address.").
		PlaceHolder("URL").StringVar(&f.web.externalURL)
	cmd.Flag("web.route-prefix", "Path below which everything is served. Default: the path of --web.external-url.").
		PlaceHolder("PATH").StringVar(&f.web.routePrefix)
	cmd.Flag("web.enable-lifecycle", "Allow POST /-/reload and /-/forget on addresses other than loopback.").
		BoolVar(&f.web.enableLifecycle)
	cmd.Flag("web.enable-pprof", "Allow /debug/pprof on addresses other than loopback.").
		BoolVar(&f.web.enablePprof)
	cmd.Flag("web.read-timeout", "How long a request may take to arrive. Its header must come within 5 s, and an idle connection is closed after 30 s.").
		Default("5m").SetValue(&f.web.readTimeout)
	cmd.Flag("web.max-connections", "Connections at the same time. Above it, a new one takes the place of the one that is missed least.").
		Default("512").IntVar(&f.web.maxConnections)
}

// defaultMemoryRatio is GOMEMLIMIT as a part of the memory.
const defaultMemoryRatio = 0.9

func (f *runFlags) registerProcess(cmd *kingpin.CmdClause) {
	cmd.Flag("auto-gomaxprocs", "Use one CPU while there is little to compute, and as many as the container's quota allows otherwise. GOMAXPROCS in the environment wins.").
		Default("true").BoolVar(&f.autoGOMAXPROCS)
	cmd.Flag("auto-gomemlimit", "Set GOMEMLIMIT from the container's or the host's memory.").
		Default("true").BoolVar(&f.autoGOMEMLIMIT)
	cmd.Flag("auto-gomemlimit.ratio", "GOMEMLIMIT as a part of that memory.").
		Default(fmt.Sprint(defaultMemoryRatio)).FloatVar(&f.memlimitRatio)
	cmd.Flag("auto-gomemlimit.refresh-interval", "How often to look at that memory again. 0: only at start.").
		Default("0s").SetValue(&f.memlimitRefresh)
	f.registerFeatures(cmd)
	cmd.Flag("log.level", "Least severe level to log: "+strings.Join(logLevels, ", ")+". runtime.log_level in the configuration file wins, and can be reloaded.").
		Default("info").EnumVar(&f.logLevel, logLevels...)
	cmd.Flag("log.format", "Format of the log: "+strings.Join(logFormats, ", ")+".").
		Default("logfmt").EnumVar(&f.logForm, logFormats...)

	cmd.Flag("scrape.discovery-reload-interval", "How often to look at what discovery found.").
		Hidden().Default("5s").SetValue(&f.discoveryReloadInterval)
	// Package variables upstream, set by Prometheus' flags in the same way.
	cmd.Flag("scrape.adjust-timestamps", "Align scrape timestamps to the schedule.").
		Hidden().Default("true").BoolVar(&scrape.AlignScrapeTimestamps)
	cmd.Flag("scrape.timestamp-tolerance", "By how much timestamps may be aligned.").
		Hidden().Default("2ms").DurationVar(&scrape.ScrapeTimestampTolerance)
}

func (f *runFlags) registerFeatures(cmd *kingpin.CmdClause) {
	cmd.Flag("enable-feature", "Experimental features of Prometheus, separated by commas: "+strings.Join(featureNames(), ", ")+".").
		PlaceHolder("NAME").StringsVar(&f.features)
}

// validate finds what kingpin cannot.
func (f *runFlags) validate() error {
	const segmentUnit = 32 << 10
	if err := f.refuse(); err != nil {
		return err
	}
	if err := f.validateLimits(); err != nil {
		return err
	}
	if err := f.receive.validate(); err != nil {
		return err
	}
	switch {
	case f.memlimitRatio <= 0 || f.memlimitRatio > 1:
		return &usageError{fmt.Sprintf("--auto-gomemlimit.ratio=%g is not above 0 and at most 1", f.memlimitRatio), "leave it out for 0.9"}
	case f.backlogMaxBytes < 0 || f.minFreeBytes < 0:
		return &usageError{"--storage.backlog.max-bytes and --storage.min-free-bytes cannot be negative", "leave them out for the defaults"}
	case f.segmentSize < 0 || f.segmentSize%segmentUnit != 0:
		return &usageError{fmt.Sprintf("--storage.agent.wal-segment-size=%s is not a multiple of 32KiB", f.segmentSize), "leave it out: it follows from --storage.backlog.max-bytes"}
	case f.maxCatchUpRate < 0:
		return &usageError{"--delivery.max-catch-up-rate cannot be negative", "0 means no bound"}
	case f.autoReloadInterval < model.Duration(time.Second):
		return &usageError{fmt.Sprintf("--config.auto-reload-interval=%s is shorter than a second", f.autoReloadInterval), "leave it out for 30s"}
	case slices.Contains(f.web.listenAddresses, web.SocketPrefix):
		return &usageError{"--web.listen-address=" + web.SocketPrefix + " names no socket", socketHint}
	case f.web.maxConnections < 1:
		return &usageError{"--web.max-connections must be at least 1", "leave it out for 512"}
	}
	return nil
}

func (f *runFlags) validateLimits() error {
	switch {
	case f.bodySize < 0 || f.labelLength < 0 || f.labels < 0:
		return &usageError{"--limits.body-size, --limits.label-length and --limits.labels cannot be negative", "leave them out for the defaults"}
	case f.labelLength > limits.SafeBodySize:
		return &usageError{fmt.Sprintf("--limits.label-length=%s is more than a label can have", f.labelLength), "leave it out for 16KiB"}
	}
	return nil
}
