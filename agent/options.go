package agent

import (
	"log/slog"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/verdict"
)

// Options hold what cannot be reloaded. The zero value of a field means the
// default that its comment names.
type Options struct {
	// StoragePath is the directory of wal/, backlog/ and delivery.json.
	StoragePath string
	// Logger receives upstream's log as well. Default: none.
	Logger log.Logger
	// LogLevel below which upstream does not even format its messages.
	// Default: slog.LevelInfo. The Logger filters by its own level.
	LogLevel slog.Leveler
	// BacklogMaxBytes bounds wal/ and backlog/ together. Default: a tenth of
	// the file system, at most 1 GiB.
	BacklogMaxBytes int64
	// MinFreeBytes is the floor under the file system's free space; below it
	// the oldest data is evicted, and then appends are refused.
	MinFreeBytes int64
	// SyncInterval is how often the active segment and the marks are synced, while there
	// is anything that was not delivered. A power cut loses at most this much. 0 means
	// that only finished segments are synced.
	SyncInterval time.Duration
	// WALCompression of what is written from now on. Default: compression.Snappy.
	WALCompression compression.Type
	// ForgetAfter is how long what belongs to a destination is kept that is gone from
	// the configuration, while the agent runs. Default: a day; negative: it is dropped
	// at once.
	ForgetAfter time.Duration
	// GiveUpRefused are the names of destinations for which what is answered with a 4xx
	// is given up, instead of being held until it is taken.
	GiveUpRefused []string
	// MaxCatchUpRate bounds the drain of a backlog, in samples a second, but
	// never below twice the intake. 0 means unbounded.
	MaxCatchUpRate float64
	// MaxLiveLag is how long a live destination may go without acknowledging
	// before it is taken behind. Default: 2 minutes.
	MaxLiveLag time.Duration
	// MinStay is how long a destination stays behind before it is handed over
	// again. Default: 30 seconds.
	MinStay time.Duration
	// SegmentSize of the WAL in bytes, a multiple of 32 KiB. Default: follows
	// from the budget, 1 to 8 MiB, less where 8 segments would not fit.
	SegmentSize int
	// TruncateInterval of upstream's WAL. Each truncation writes a checkpoint
	// of all series. Default: 15 minutes.
	TruncateInterval time.Duration
	// DiscoveryReloadInterval is how often upstream looks at what discovery
	// found. Default: upstream's 5 seconds.
	DiscoveryReloadInterval time.Duration
	// MaxClockWait bounds how long to wait at the start for a clock that lies before
	// a time that it has had, or before this program. Default: 2 minutes; negative:
	// do not wait.
	MaxClockWait time.Duration
	// Limits of what is scraped. Default of each: by the memory that GOMEMLIMIT
	// allows when the agent is made.
	Limits limits.Limits
	// Receives: programs may send samples, so that having no target is no problem.
	Receives bool
	// Features are upstream's experimental features that concern an agent.
	Features Features
}

// Features name upstream's experimental features by their flag.
type Features struct {
	MetadataWALRecords bool // metadata-wal-records
	TypeAndUnitLabels  bool // type-and-unit-labels
	STStorage          bool // st-storage
	STSynthesis        bool // st-synthesis
	OpenMetrics2       bool // openmetrics2
	ZstdScrape         bool // zstd-scrape

	OTLPDeltaToCumulative bool // otlp-deltatocumulative
	OTLPNativeDelta       bool // otlp-native-delta-ingestion
}

// ScrapeOptions are the options of upstream's scrape manager that the features decide.
func (f Features) ScrapeOptions() scrape.Options {
	return scrape.Options{
		AppendMetadata:          f.MetadataWALRecords,
		ParseST:                 f.STStorage,
		SynthesizeST:            f.STSynthesis,
		EnableTypeAndUnitLabels: f.TypeAndUnitLabels,
		EnableOpenMetrics2:      f.OpenMetrics2,
		EnableZstdScrape:        f.ZstdScrape,
	}
}

const (
	defaultMaxLiveLag       = 2 * time.Minute
	defaultMinStay          = 30 * time.Second
	defaultTruncateInterval = 15 * time.Minute
	defaultMaxClockWait     = 2 * time.Minute
	defaultForgetAfter      = 24 * time.Hour
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = log.NewNopLogger()
	}
	if o.LogLevel == nil {
		o.LogLevel = slog.LevelInfo
	}
	if o.MaxLiveLag == 0 {
		o.MaxLiveLag = defaultMaxLiveLag
	}
	if o.MinStay == 0 {
		o.MinStay = defaultMinStay
	}
	if o.ForgetAfter == 0 {
		o.ForgetAfter = defaultForgetAfter
	}
	if o.TruncateInterval == 0 {
		o.TruncateInterval = defaultTruncateInterval
	}
	if o.MaxClockWait == 0 {
		o.MaxClockWait = defaultMaxClockWait
	}
	o.Limits = o.Limits.Or(limits.From(limits.Memory()))
	return o
}

// Status is the agent's state at one moment.
type Status struct {
	// Verdict is what the state means.
	Verdict verdict.Verdict `json:"verdict"`
	Ready   bool            `json:"ready"`
	Started time.Time       `json:"started"`
	// Waiting says why scraping has not begun; empty once it has.
	Waiting string `json:"waiting,omitempty"`
	// Clock tells of steps of the wall clock; nil: there was none.
	Clock        *ClockStatus      `json:"clock,omitempty"`
	Storage      StorageStatus     `json:"storage"`
	Destinations []delivery.Status `json:"destinations"`
	// Limits is nil until the storage is open.
	Limits *delivery.LimitsStatus `json:"limits,omitempty"`
	// Kept is what belongs to destinations that are gone from the configuration.
	Kept []delivery.Kept `json:"kept,omitempty"`
	// ForgottenSamples were dropped with such destinations since the storage
	// directory was created.
	ForgottenSamples uint64 `json:"forgottenSamples,omitempty"`
	// StoppedJobs are not scraped until the files that they need can be used.
	StoppedJobs []StoppedJob `json:"stoppedJobs,omitempty"`
	// MissingLogs are files that failed scrapes are not logged to, until they can be
	// opened.
	MissingLogs []MissingLog `json:"missingLogs,omitempty"`

	noJobs   bool // the configuration has no scrape job
	receives bool // see Options
}

// StorageStatus is what is on disk, in bytes.
type StorageStatus struct {
	// Bytes of wal/ and backlog/ together, each file counted once.
	Bytes        int64 `json:"bytes"`
	WALBytes     int64 `json:"walBytes"`
	BacklogBytes int64 `json:"backlogBytes"`
	MaxBytes     int64 `json:"maxBytes"`
	FreeBytes    int64 `json:"freeBytes"`
	MinFreeBytes int64 `json:"minFreeBytes"`
	// Refusing: the disk is full, or cannot be written, and appends are refused
	// until it can.
	Refusing bool `json:"refusing"`
	// Unwritable says why nothing at all can be written; empty when something can.
	Unwritable string `json:"unwritable,omitempty"`
	// Denied: because the agent's user may not.
	Denied       bool   `json:"denied,omitempty"`
	ActiveSeries uint64 `json:"activeSeries"`
}
