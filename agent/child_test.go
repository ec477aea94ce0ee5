package agent_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/scrape"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/receive"
)

// The tests run the agent in a process of its own, so that it can be stopped,
// killed and started again as in the field. The process is this test binary.
const childEnv = "OPSTRACE_AGENT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// childConfig is what the child reads from its standard input.
type childConfig struct {
	Options    childOptions
	ConfigFile string
	AddrFile   string
}

// childOptions are the parts of agent.Options that tests set.
type childOptions struct {
	StoragePath                                                 string
	BacklogMaxBytes, MinFreeBytes                               int64
	SyncInterval, MaxLiveLag, MinStay, TruncateInterval, MaxClk time.Duration
	SegmentSize                                                 int
	MaxCatchUpRate                                              float64
	Features                                                    agent.Features
	Limits                                                      limits.Limits
	DiscoveryReloadInterval                                     time.Duration
	WALCompression                                              string
	// Address of the child; empty: of a free port.
	Address string
	Receive receiveOptions
}

// receiveOptions are the parts of receive.Options that tests set.
type receiveOptions struct {
	Sync             bool
	FailingSyncs     int32 // of the first requests
	BodySize, Memory int64
	MaxSeries        uint64
	MaxRate          float64
	TenantLabel      string
}

// receiver takes samples for a.
func (o receiveOptions) receiver(a *agent.Agent) (*receive.Receiver, error) {
	ro := receive.Options{
		Storage: a, Config: a.Config, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Messages: remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType},
		BodySize: cmp.Or(o.BodySize, limits.SafeBodySize), Memory: cmp.Or(o.Memory, 4*limits.SafeBodySize), MaxSeries: o.MaxSeries, MaxRate: o.MaxRate, TenantLabel: o.TenantLabel,
	}
	if o.Sync {
		var failed atomic.Int32
		ro.Sync = func() error {
			if failed.Add(1) <= o.FailingSyncs {
				return errors.New("no disk")
			}
			return a.Sync()
		}
	}
	return receive.New(ro)
}

func child() error {
	var c childConfig
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	// A scrape that a busy machine makes late would get the time of the one before,
	// and be out of order.
	scrape.AlignScrapeTimestamps = false
	o := c.Options
	a, err := agent.New(agent.Options{
		StoragePath: o.StoragePath, BacklogMaxBytes: o.BacklogMaxBytes, MinFreeBytes: o.MinFreeBytes,
		SyncInterval: o.SyncInterval, WALCompression: o.WALCompression, MaxLiveLag: o.MaxLiveLag, MinStay: o.MinStay,
		TruncateInterval: o.TruncateInterval, MaxClockWait: o.MaxClk, SegmentSize: o.SegmentSize,
		MaxCatchUpRate: o.MaxCatchUpRate, Features: o.Features, Limits: o.Limits, DiscoveryReloadInterval: o.DiscoveryReloadInterval, LogLevel: slog.LevelDebug,
		Logger: log.With(log.NewLogfmtLogger(log.NewSyncWriter(os.Stderr)), "ts", log.DefaultTimestampUTC),
	})
	if err != nil {
		return err
	}
	cfg, err := loadConfig(c.ConfigFile)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cmp.Or(o.Address, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	received, err := o.Receive.receiver(a)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/write", received.RemoteWrite())
	mux.Handle("/api/v1/otlp/v1/metrics", received.OTLP())
	mux.HandleFunc("/senders", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(received.Senders())
	})
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(a.Status())
	})
	mux.HandleFunc("/memory", limitMemory)
	mux.HandleFunc("/alive", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.Alive(time.Second); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/reload", func(w http.ResponseWriter, _ *http.Request) {
		cfg, err := loadConfig(c.ConfigFile)
		if err == nil {
			err = a.Apply(cfg)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/targets", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, a.ScrapeManager().TargetsActive())
		for _, ts := range a.ScrapeManager().TargetsActive() {
			for _, t := range ts {
				fmt.Fprintf(w, "%s: %v %s\n", t.GetValue("instance"), t.LastError(), t.LastScrape())
			}
		}
	})
	mux.Handle("/metrics", promhttp.HandlerFor(a.Gatherer(), promhttp.HandlerOpts{}))
	go func() { _ = http.Serve(l, mux) }()
	if err := os.WriteFile(c.AddrFile, []byte(l.Addr().String()), 0o600); err != nil {
		return err
	}
	return a.Run(ctx, cfg)
}

// limitMemory makes what lives now so many percent of what may; 0: there is no limit.
func limitMemory(w http.ResponseWriter, r *http.Request) {
	percent, err := strconv.ParseUint(r.URL.Query().Get("percent"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	limit := int64(math.MaxInt64)
	if percent > 0 {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		runtime.GC()
		metrics.Read(live)
		limit = int64(live[0].Value.Uint64() * 100 / percent)
	}
	debug.SetMemoryLimit(limit)
}

func loadConfig(path string) (*config.Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return config.Load(string(b), slog.New(slog.DiscardHandler))
}
