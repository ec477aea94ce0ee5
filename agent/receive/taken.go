package receive

import (
	"crypto/sha256"
	"io"
	"net/http"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// mostTaken are remembered, each with some hundred bytes. A sender that is not answered comes
// again within minutes.
const mostTaken = 1000

// taken are the last requests of which all was taken, by what they have. When one comes
// again, its sender was not answered: samples that are older than the newest of their series
// would be refused, though they are there.
type taken struct {
	byDigest map[digest]*takenRequest
	last     [mostTaken]digest
	next     int
}

type digest [sha256.Size]byte

type takenRequest struct {
	answer  *answer
	samples uint64
	first   labels.Labels // of delivery.Received, what tells who sends
}

// digestOf is of all that decides what becomes of a request.
func digestOf(protocol string, req *http.Request, body []byte) (d digest) {
	h := sha256.New()
	for _, s := range []string{protocol, req.Header.Get("Content-Type"), req.Header.Get("Content-Encoding"), req.Header.Get(tenantHeader)} {
		_, _ = io.WriteString(h, s+"\x00")
	}
	_, _ = h.Write(body)
	h.Sum(d[:0])
	return d
}

// again returns the answer to a request that was taken before; nil: it was not, or long ago.
func (t *taken) again(d digest, received *delivery.Received) *answer {
	before := t.byDigest[d]
	if before == nil {
		return nil
	}
	received.Repeated, received.First = before.samples, before.first
	return before.answer
}

// note remembers a request.
func (t *taken) note(d digest, received *delivery.Received, a *answer) {
	if t.byDigest == nil {
		t.byDigest = map[digest]*takenRequest{}
	}
	delete(t.byDigest, t.last[t.next])
	t.last[t.next] = d
	t.next = (t.next + 1) % mostTaken
	t.byDigest[d] = &takenRequest{a, received.Samples + received.Repeated, labels.FromStrings(
		model.JobLabel, nameOf(received.First.Get(model.JobLabel)), model.InstanceLabel, nameOf(received.First.Get(model.InstanceLabel)))}
}
