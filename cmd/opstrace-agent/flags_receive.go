package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/opstrace/opstrace-agent/agent"
	"github.com/opstrace/opstrace-agent/agent/limits"
	"github.com/opstrace/opstrace-agent/agent/receive"
	"github.com/opstrace/opstrace-agent/agent/web"
)

// receiveFlags say what programs may send. The first three are Prometheus'.
type receiveFlags struct {
	remoteWrite, otlp bool
	messages          []string
	sync              bool
	maxSeries         uint64
	maxRate           float64
	tenantLabel       string

	// given: a flag with a value, which is for receivers alone, is on the command line.
	given map[string]*bool
}

func (f *receiveFlags) register(cmd *kingpin.CmdClause) {
	all := remoteapi.MessageTypes{remoteapi.WriteV1MessageType, remoteapi.WriteV2MessageType}.Strings()
	cmd.Flag("web.enable-remote-write-receiver", "Take what programs send by remote write to /api/v1/write.").
		BoolVar(&f.remoteWrite)
	cmd.Flag("web.remote-write-receiver.accepted-protobuf-messages", "Messages of remote write that are taken. Can be repeated.").
		PlaceHolder("MESSAGE").Default(all...).EnumsVar(&f.messages, all...)
	cmd.Flag("web.enable-otlp-receiver", "Take what programs send by OTLP to /api/v1/otlp/v1/metrics.").
		BoolVar(&f.otlp)
	f.given = map[string]*bool{}
	own := func(name, help string) *kingpin.FlagClause {
		f.given[name] = new(bool)
		return cmd.Flag(name, help).IsSetByUser(f.given[name])
	}
	cmd.Flag("receive.sync", "Answer a program only when what it has sent is on the disk, and survives a power cut.").
		BoolVar(&f.sync)
	own("receive.max-series", "Number of series that programs at one address may begin in an hour or two; all of this host are one. 0: a quarter of --limits.max-series.").
		Default("0").Uint64Var(&f.maxSeries)
	own("receive.max-rate", "Number of samples a second that may come from one address. 0: any number.").
		Default("10000").Float64Var(&f.maxRate)
	own("receive.tenant-label", "Label that gets the tenant which a program names in the header X-Scope-OrgID, in each series that it sends: write_relabel_configs can choose a destination by it. Empty: the header is not looked at.").
		PlaceHolder("LABEL").StringVar(&f.tenantLabel)
}

func (f *receiveFlags) validate() error {
	if f.maxRate < 0 {
		return &usageError{"--receive.max-rate cannot be negative", "0 means any number"}
	}
	if f.tenantLabel != "" && (!model.LegacyValidation.IsValidLabelName(f.tenantLabel) || f.tenantLabel == model.MetricNameLabel) {
		return &usageError{fmt.Sprintf("--receive.tenant-label=%s is no name of a label for that", f.tenantLabel), "letters, digits and _ only, such as __tenant__"}
	}
	return f.validateGiven()
}

// validateGiven refuses flags of receivers where none is enabled: whoever gives them
// believes that samples are taken. What Prometheus takes alone is taken alone here too.
func (f *receiveFlags) validateGiven() error {
	if f.remoteWrite || f.otlp {
		return nil
	}
	var names []string
	if f.sync {
		names = append(names, "--receive.sync")
	}
	for _, name := range slices.Sorted(maps.Keys(f.given)) {
		if *f.given[name] {
			names = append(names, "--"+name)
		}
	}
	const enable = "enable one by --web.enable-remote-write-receiver or --web.enable-otlp-receiver, or leave "
	switch len(names) {
	case 0:
		return nil
	case 1:
		return &usageError{names[0] + " is for receivers, and none is enabled", enable + "it out"}
	}
	return &usageError{strings.Join(names, ", ") + " are for receivers, and none is enabled", enable + "them out"}
}

// bodiesShare of the memory is what requests may take that are being received.
const bodiesShare = 8

// open has the web server take what programs send to an agent.
func (f *receiveFlags) open(o *web.Options, a *agent.Agent, own limits.Limits, features agent.Features, logger *processLog, reg prometheus.Registerer) error {
	if !f.remoteWrite && !f.otlp {
		return nil
	}
	memory := limits.Memory()
	l := own.Or(limits.From(memory))
	ro := receive.Options{
		Storage: a, Config: a.Config, Logger: logger.slog().With("component", "receive"), Registerer: reg,
		BodySize: l.BodySize, Memory: 4 * limits.SafeBodySize, MaxSeries: f.maxSeries, MaxRate: f.maxRate, TenantLabel: f.tenantLabel,
		TypeAndUnitLabels: features.TypeAndUnitLabels, AppendMetadata: features.MetadataWALRecords,
		OTLPDeltaToCumulative: features.OTLPDeltaToCumulative, OTLPNativeDelta: features.OTLPNativeDelta,
	}
	if memory > 0 && memory != math.MaxInt64 {
		ro.Memory = min(ro.Memory, memory/bodiesShare)
	}
	if ro.MaxSeries == 0 {
		ro.MaxSeries = l.MaxSeries / 4
	}
	for _, m := range f.messages {
		ro.Messages = append(ro.Messages, remoteapi.WriteMessageType(m))
	}
	if f.sync {
		ro.Sync = a.Sync
	}
	r, err := receive.New(ro)
	if err != nil {
		return err
	}
	if f.remoteWrite {
		o.RemoteWrite = r.RemoteWrite()
	}
	if f.otlp {
		o.OTLP = r.OTLP()
	}
	o.Senders = r.Senders
	return nil
}
