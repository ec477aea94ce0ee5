// Package receive takes samples that other programs send, by remote write 1.0 and 2.0 and
// by OTLP, with upstream's handlers, into the agent's storage. What is answered with 2xx
// survives; what cannot be taken now stays with the sender, who is told when to come again.
package receive

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"

	"github.com/opstrace/opstrace-agent/agent/delivery"
	"github.com/opstrace/opstrace-agent/agent/seldom"
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
	// Memory that the bodies of all requests at once may take, in bytes, compressed and not,
	// at least twice BodySize; and as much again the request that is being decoded.
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
	memory  *pool
	syncs   groupSync
	senders *senders
	// taking is held while upstream's handler has a request. With two at once, one could be
	// answered whose samples are in the WAL in front of the record of their series, which
	// the other one is still to write, and which upstream reads as those of no series.
	taking  sync.Mutex // guards taken
	taken   taken
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
	o.Logger = slog.New(seldom.New(o.Logger.Handler(), often...))
	r := &Receiver{
		opts:    o,
		memory:  newPool(max(o.Memory, 2*(o.BodySize+mostChunk))),
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

// often is what upstream's handlers log of each series or request, and notTaken what we do:
// a sender would fill the log with it.
var often = []string{
	notTaken,
	"Error appending remote write",
	"Error decoding OTLP write request",
	"Error decoding remote write request",
	"Error decoding v1 remote write request",
	"Error decoding v2 remote write request",
	"Error on ingesting out-of-order exemplars",
	"Error while storing the remote write request",
	"Invalid histogram received",
	"Invalid labels for series.",
	"Invalid metric names or labels",
	"Out of order histogram from remote write",
	"Out of order sample from remote write",
	"Unaccepted message type",
	"Warnings translating OTLP metrics to Prometheus write request",
	"failed to ingest exemplars, emitting error log, but no error for PRW caller",
}

const notTaken = "Not taken what was sent"

const otlpName = "otlp"

// protocol is one that senders speak.
type protocol struct {
	name string
	open func(b *body, req *http.Request) *refusal
	// weigh returns how much memory a request takes when it is decoded, at the most, and how
	// many samples it has; 0: that is not known.
	weigh func(b *body, req *http.Request) (weight int64, samples uint64)
	next  http.Handler // upstream's
}

// RemoteWrite serves POST /api/v1/write.
func (r *Receiver) RemoteWrite() http.Handler {
	return r.serve(protocol{"remote_write", snappyBody, weighWrite, r.write})
}

// OTLP serves POST /api/v1/otlp/v1/metrics.
func (r *Receiver) OTLP() http.Handler {
	return r.serve(protocol{otlpName, gzipBody, weighOTLP, r.otlp})
}

// Senders returns who has sent something, and what became of it.
func (r *Receiver) Senders() []Sender { return r.senders.all() }

// tenantHeader is by which Cortex and Mimir are told for which tenant a request is.
const tenantHeader = "X-Scope-OrgID"

// bodyTimeout is how long a body may take to come.
const bodyTimeout = 30 * time.Second

// serve answers a request by one of upstream's handlers, when all of its body is there.
func (r *Receiver) serve(p protocol) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // not every writer can
		address := addressOf(req)
		b := &body{limit: r.opts.BodySize, memory: r.memory, account: accountOf(address)}
		defer b.release()
		refusal := r.read(b, p, w, req)
		if refusal != nil {
			r.metrics.requests.WithLabelValues(p.name, refusal.name).Inc()
			r.senders.declined(time.Now(), address, p.name, refusal)
			r.opts.Logger.Warn(notTaken, "address", address, "protocol", p.name, "reason", refusal.words)
			// What is left of the body is not read.
			w.Header().Set("Connection", "close")
			refusal.write(w)
			return
		}
		r.answer(w, req, p, address, b)
	})
}

// read takes the body of a request; a refusal is why upstream's handler must not see it.
func (r *Receiver) read(b *body, p protocol, w http.ResponseWriter, req *http.Request) *refusal {
	if r.opts.TenantLabel != "" && !utf8.ValidString(req.Header.Get(tenantHeader)) {
		return malformed(fmt.Errorf("the header %s is not valid UTF-8", tenantHeader))
	}
	if req.ContentLength > r.opts.BodySize {
		return tooLarge(r.opts.BodySize)
	}
	if refusal := b.read(http.MaxBytesReader(w, req.Body, r.opts.BodySize)); refusal != nil {
		return refusal
	}
	return p.open(b, req)
}

// answer hands a request to upstream's handler, and answers it.
func (r *Receiver) answer(w http.ResponseWriter, req *http.Request, p protocol, address string, b *body) {
	received := &delivery.Received{
		Begin: func() bool { return r.allowed.begin(b.account, time.Now()) },
		Admit: func(n uint64) bool { return r.allowed.admit(b.account, time.Now(), n) },
		Set:   labels.Label{Name: r.opts.TenantLabel, Value: req.Header.Get(tenantHeader)},
		Whole: p.name == otlpName || !isV2(req),
	}
	result, a := r.take(req, p, b, received)
	// What had come before may be in a sync that goes on, or that has failed.
	if result.refusal == nil && received.Samples+received.Repeated > 0 && r.opts.Sync != nil {
		if err := r.syncs.do(r.opts.Sync); err != nil {
			r.opts.Logger.Error("Cannot sync what was received", "err", err)
			r.forget()
			received.Later = delivery.LaterStorage
			result = resultOf(received, a)
		}
	}
	r.senders.of(address, received.First).note(time.Now(), p.name, received, result)
	r.metrics.requests.WithLabelValues(p.name, result.name).Inc()
	r.metrics.samples.WithLabelValues(p.name).Add(float64(received.Samples))
	if result.words != "" {
		r.opts.Logger.Warn(notTaken, "address", address, "protocol", p.name, "reason", result.words)
	}
	if result.refusal != nil {
		result.refusal.write(w)
		return
	}
	a.write(w)
}

// forget forgets what was taken, of which some may not be on the disk, and never be: the next
// run is to take it once more.
func (r *Receiver) forget() {
	r.taking.Lock()
	defer r.taking.Unlock()
	r.taken = taken{}
}

// take has upstream's handler take a request.
func (r *Receiver) take(req *http.Request, p protocol, b *body, received *delivery.Received) (result, *answer) {
	r.taking.Lock()
	defer r.taking.Unlock()
	d := digestOf(p.name, req, b.bytes)
	if a := r.taken.again(d, received); a != nil {
		return resultOf(received, a), a
	}
	weight, samples := p.weigh(b, req)
	if weight > r.memory.size {
		refusal := tooHeavy(r.memory.size)
		return result{refusal.name, refusal, refusal.words}, nil
	}
	// Not cut off when who sends has gone: half of it would be taken.
	ctx := delivery.WithReceived(context.WithoutCancel(req.Context()), received)
	a := &answer{header: http.Header{}, code: http.StatusOK}
	defer received.End()
	p.next.ServeHTTP(a, req.WithContext(ctx))
	if p.name == otlpName && a.code == http.StatusInternalServerError && received.Later == "" {
		// Upstream's translator cannot take it, today or tomorrow: a sender would try again.
		a.code = http.StatusBadRequest
	}
	if received.Failed != nil && a.code/100 == 2 {
		// Upstream's handler of OTLP does not look at what a commit returns.
		a = &answer{header: http.Header{}}
		http.Error(a, received.Failed.Error(), http.StatusBadRequest)
	}
	if p.name == otlpName && a.code == http.StatusBadRequest && len(received.Rejected) == 0 {
		samples = received.Undone + received.Repeated + 1 // how many it has is not known, but that
	}
	rejectRest(received, a, samples)
	if received.Later == "" && a.code/100 == 2 && len(received.Rejected) == 0 {
		r.taken.note(d, received, a)
	}
	return resultOf(received, a), a
}

// rejectRest enters samples that the sender will not send again, and that upstream's handler
// has not handed on: all of a request's that is answered with 2xx or 4xx, but those that were
// taken or refused already.
func rejectRest(received *delivery.Received, a *answer, samples uint64) {
	if received.Later != "" || a.code/100 == 5 {
		return
	}
	accounted := received.Samples + received.Repeated
	for _, n := range received.Rejected {
		accounted += n
	}
	reason := delivery.RejectedInvalid
	if bytes.Contains(a.body.Bytes(), []byte(storage.ErrOutOfBounds.Error())) {
		reason = delivery.RejectedTooFarAhead
	}
	received.Reject(reason, samples-min(samples, accounted))
}

// isV2 reports whether a request is of remote write 2.0.
func isV2(req *http.Request) bool {
	message, err := remoteapi.ParseProtoMsg(req.Header.Get("Content-Type"))
	return err == nil && message == remoteapi.WriteV2MessageType
}
