package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
)

// Flags of Prometheus that are not flags of this program. What Prometheus
// itself refuses in agent mode is refused here too, and so is what would lose
// data silently if it were ignored; the rest is accepted with a notice, so that
// the command line of a Prometheus agent works as it is. A test holds the
// tables against Prometheus' own flags.

// ignoredFlags are accepted, each with the reason why it does nothing.
var ignoredFlags = []struct {
	name   string
	isBool bool
	reason string
}{
	{"agent", true, "this program is always an agent"},
	{"storage.agent.wal-compression", true, "segments on disk are always compressed"},
	{"storage.agent.retention.min-time", false, "samples are kept until they are delivered, within --storage.backlog.max-bytes"},
	{"storage.agent.retention.max-time", false, "samples are kept until they are delivered, within --storage.backlog.max-bytes"},
	{"storage.agent.checkpoint-from-in-memory-series", true, "checkpoints are always made from memory"},
	{"storage.agent.checkpoint-batch-size", false, "the batches of a checkpoint are fixed"},
	{"storage.agent.no-lockfile", true, "the storage directory is always locked"},
	{"storage.remote.flush-deadline", false, "a stop need not wait for an endpoint: what is unsent stays on disk"},
	{"web.enable-admin-api", true, "an agent has no admin API"},
	{"web.max-notifications-subscribers", false, "there are no notifications"},
	{"web.user-assets", false, "there are no user assets"},
	{"web.console.templates", false, "an agent has no consoles"},
	{"web.console.libraries", false, "an agent has no consoles"},
	{"web.page-title", false, "the title is fixed"},
	{"web.cors.origin", false, "pages of other origins get no answer"},
}

const (
	serverHint = "remove it: it belongs to a Prometheus server, and an agent neither queries nor evaluates rules"
	tsdbHint   = "use --storage.agent.path for the directory and --storage.backlog.max-bytes for the bound"
)

// refusedFlags have a hint each.
var refusedFlags = []struct {
	name   string
	isBool bool
	hint   string
}{
	{"storage.tsdb.path", false, tsdbHint},
	{"storage.tsdb.retention", false, tsdbHint},
	{"storage.tsdb.retention.time", false, tsdbHint},
	{"storage.tsdb.retention.size", false, tsdbHint},
	{"storage.tsdb.min-block-duration", false, serverHint},
	{"storage.tsdb.max-block-duration", false, serverHint},
	{"storage.tsdb.max-block-chunk-segment-size", false, serverHint},
	{"storage.tsdb.wal-segment-size", false, serverHint},
	{"storage.tsdb.no-lockfile", true, serverHint},
	{"storage.tsdb.allow-overlapping-blocks", true, serverHint},
	{"storage.tsdb.allow-overlapping-compaction", true, serverHint},
	{"storage.tsdb.wal-compression", true, serverHint},
	{"storage.tsdb.wal-compression-type", false, serverHint},
	{"storage.tsdb.head-chunks-write-queue-size", false, serverHint},
	{"storage.tsdb.samples-per-chunk", false, serverHint},
	{"storage.tsdb.delayed-compaction.max-percent", false, serverHint},
	{"storage.tsdb.delay-compact-file.path", false, serverHint},
	{"storage.tsdb.block-reload-interval", false, serverHint},
	{"storage.remote.read-sample-limit", false, serverHint},
	{"storage.remote.read-concurrent-limit", false, serverHint},
	{"storage.remote.read-max-bytes-in-frame", false, serverHint},
	{"rules.alert.for-outage-tolerance", false, serverHint},
	{"rules.alert.for-grace-period", false, serverHint},
	{"rules.alert.resend-delay", false, serverHint},
	{"rules.max-concurrent-evals", false, serverHint},
	{"alertmanager.notification-queue-capacity", false, serverHint},
	{"alertmanager.notification-batch-size", false, serverHint},
	{"alertmanager.drain-notification-queue-on-shutdown", true, serverHint},
	{"alertmanager.timeout", false, serverHint},
	{"query.lookback-delta", false, serverHint},
	{"query.timeout", false, serverHint},
	{"query.max-concurrency", false, serverHint},
	{"query.max-samples", false, serverHint},
	{"web.search.max-limit", false, serverHint},
}

func (f *runFlags) registerPrometheus(cmd *kingpin.CmdClause) {
	for _, flag := range ignoredFlags {
		cmd.Flag(flag.name, "Accepted and ignored.").Hidden().SetValue(&foreignFlag{
			isBool: flag.isBool,
			set: func() error {
				f.notices = append(f.notices, "--"+flag.name+" does nothing here: "+flag.reason)
				return nil
			},
		})
	}
	for _, flag := range refusedFlags {
		cmd.Flag(flag.name, "Refused.").Hidden().SetValue(&foreignFlag{
			isBool: flag.isBool,
			set: func() error {
				f.refused = append(f.refused, flag.name)
				return nil
			},
		})
	}
}

// refuse names all flags that were refused: whoever comes from a server has many.
func (f *runFlags) refuse() error {
	if len(f.refused) == 0 {
		return nil
	}
	var names, hints []string
	for _, flag := range refusedFlags {
		if !slices.Contains(f.refused, flag.name) {
			continue
		}
		names = append(names, "--"+flag.name)
		if !slices.Contains(hints, flag.hint) {
			hints = append(hints, flag.hint)
		}
	}
	if len(names) == 1 {
		return &usageError{names[0] + " is not a flag of " + appName, hints[0]}
	}
	if len(hints) == 1 {
		return &usageError{strings.Join(names, ", ") + " are not flags of " + appName, strings.NewReplacer("remove it", "remove them", "it belongs", "they belong").Replace(hints[0])}
	}
	return &usageError{strings.Join(names, ", ") + " are not flags of " + appName,
		"remove them: an agent neither queries nor evaluates rules; its storage has --storage.agent.path and --storage.backlog.max-bytes"}
}

// foreignFlag is a kingpin.Value that keeps nothing.
type foreignFlag struct {
	isBool bool
	set    func() error
}

func (v *foreignFlag) Set(value string) error {
	// --no-NAME of a refused flag asks for nothing that an agent does.
	if v.isBool && strings.EqualFold(value, "false") {
		return nil
	}
	return v.set()
}

func (v *foreignFlag) String() string     { return "" }
func (v *foreignFlag) IsBoolFlag() bool   { return v.isBool }
func (v *foreignFlag) IsCumulative() bool { return true }
