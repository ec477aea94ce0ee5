// Package receive takes samples that other programs send, by remote write 1.0 and 2.0 and
// by OTLP, with upstream's handlers, into the agent's storage. What is answered with 2xx
// survives; what cannot be taken now stays with the sender, who is told when to come again.
package receive

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"golang.org/x/sync/semaphore"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// Options of New. Storage is needed, and Config for OTLP.
type Options struct {
	// Storage takes what was sent, by delivery.WithReceived.
	Storage storage.AppendableV2
	// Config in force, of which its otlp section counts.
	Config func() *config.Config
	// Sync writes what was committed to the disk. Nil: an answer does not wait for that.
	Sync   func() error
	Logger *slog.Logger
	// Registerer of upstream's metrics and of our own.
	Registerer prometheus.Registerer

	// Messages of remote write that are accepted.
	Messages remoteapi.MessageTypes
	// BodySize is what a request may have, in bytes, before decompression and after.
	BodySize int64
	// Memory that the bodies of all requests at once may take, in bytes, compressed and not;
	// at least twice BodySize.
	Memory int64
	// MaxSeries is how many series may be begun from one address within an hour, and no more
	// than so many within two; 0: any number. All of this host is one address.
	MaxSeries uint64
	// MaxRate is how many samples a second may come from one address, in the mean of ten
	// seconds; 0: any number.
	MaxRate float64
	// TenantLabel gets, in each series, the tenant that its sender names in tenantHeader,
	// whatever the sender calls so itself; empty: none does.
	TenantLabel string

	// Of upstream's features, by their flags.
	TypeAndUnitLabels, AppendMetadata, OTLPDeltaToCumulative, OTLPNativeDelta bool
}

// Receiver answers what senders send.
type Receiver struct {
	opts    Options
	memory  *semaphore.Weighted
	syncs   groupSync
	senders *senders
	allowed *allowances
	metrics *metrics

	write, otlp http.Handler // upstream's
}

// New returns a receiver. It fails when its metrics are registered already.
func New(o Options) (*Receiver, error) {
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Receiver{
		opts:    o,
		memory:  semaphore.NewWeighted(max(o.Memory, 2*(o.BodySize+mostChunk))),
		senders: newSenders(),
		allowed: newAllowances(o.MaxSeries, o.MaxRate),
		metrics: m,
	}
	r.write = remote.NewWriteHandler(o.Logger, o.Registerer, o.Storage, o.Messages, o.TypeAndUnitLabels, o.AppendMetadata)
	r.otlp = remote.NewOTLPWriteHandler(o.Logger, o.Registerer, o.Storage, func() config.Config { return *o.Config() }, remote.OTLPOptions{
		ConvertDelta: o.OTLPDeltaToCumulative, NativeDelta: o.OTLPNativeDelta,
		LookbackDelta: lookback, EnableTypeAndUnitLabels: o.TypeAndUnitLabels,
	})
	return r, nil
}

// lookback is Prometheus' default of --query.lookback-delta, by which target_info of OTLP
// is repeated: nobody sets it for an agent.
const lookback = 5 * time.Minute

// RemoteWrite serves POST /api/v1/write.
func (r *Receiver) RemoteWrite() http.Handler { return r.serve("remote_write", snappyBody, r.write) }

// OTLP serves POST /api/v1/otlp/v1/metrics.
func (r *Receiver) OTLP() http.Handler { return r.serve("otlp", gzipBody, r.otlp) }

// Senders returns who has sent something, and what became of it.
func (r *Receiver) Senders() []Sender { return r.senders.all() }

// tenantHeader is by which Cortex and Mimir are told for which tenant a request is.
const tenantHeader = "X-Scope-OrgID"

// bodyTimeout is how long a body may take to come.
const bodyTimeout = 30 * time.Second

// serve answers a request by one of upstream's handlers, when all of its body is there.
func (r *Receiver) serve(protocol string, open func(b *body, req *http.Request) *refusal, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer can
		b := &body{limit: r.opts.BodySize, memory: r.memory}
		defer b.release()
		address := addressOf(req)
		if req.ContentLength > r.opts.BodySize {
			r.decline(w, protocol, address, tooLarge(r.opts.BodySize))
			return
		}
		refusal := b.read(http.MaxBytesReader(w, req.Body, r.opts.BodySize))
		if refusal == nil {
			refusal = open(b, req)
		}
		if refusal != nil {
			r.decline(w, protocol, address, refusal)
			return
		}
		r.take(w, req, protocol, address, next)
	})
}

// take hands a request to upstream's handler, and answers it.
func (r *Receiver) take(w http.ResponseWriter, req *http.Request, protocol, address string, next http.Handler) {
	received := &delivery.Received{
		Begin: func() bool { return r.allowed.begin(address, time.Now()) },
		Admit: func(n uint64) bool { return r.allowed.admit(address, time.Now(), n) },
		Set:   labels.Label{Name: r.opts.TenantLabel, Value: req.Header.Get(tenantHeader)},
	}
	// Not cut off when who sends has gone: half of it would be taken.
	ctx := delivery.WithReceived(context.WithoutCancel(req.Context()), received)
	a := &answer{header: http.Header{}, code: http.StatusOK}
	next.ServeHTTP(a, req.WithContext(ctx))
	if received.Samples > 0 && r.opts.Sync != nil {
		if err := r.syncs.do(r.opts.Sync); err != nil {
			r.opts.Logger.Error("Cannot sync what was received", "err", err)
			received.Later = delivery.LaterStorage
		}
	}
	result := resultOf(received, a)
	r.senders.of(address, received.First).note(time.Now(), protocol, received, result)
	r.metrics.requests.WithLabelValues(protocol, result.name).Inc()
	r.metrics.samples.WithLabelValues(protocol).Add(float64(received.Samples))
	if result.refusal != nil {
		result.refusal.write(w)
		return
	}
	a.write(w)
}

// decline answers a request that upstream's handler does not see.
func (r *Receiver) decline(w http.ResponseWriter, protocol, address string, refusal *refusal) {
	r.metrics.requests.WithLabelValues(protocol, refusal.name).Inc()
	r.senders.declined(time.Now(), address, protocol, refusal)
	// What is left of the body is not read.
	w.Header().Set("Connection", "close")
	refusal.write(w)
}
