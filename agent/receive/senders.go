package receive

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/opstrace/opstrace-agent/agent/delivery"
)

// mostSenders are known apart; beyond them, the one that was silent for longest is
// forgotten.
const mostSenders = 500

// Sender is who sends samples, told by its address and the labels of what it sends.
type Sender struct {
	Address  string `json:"address"`
	Job      string `json:"job,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Protocol of the last request: remote_write or otlp.
	Protocol string    `json:"protocol"`
	Requests uint64    `json:"requests"`
	Samples  uint64    `json:"samples"` // that were committed
	Rejected uint64    `json:"rejected"`
	Declined uint64    `json:"declined"` // requests that were told to come later, or never
	Last     time.Time `json:"last"`
	// LastError is why the last request was not taken as a whole; empty: it was.
	LastError string `json:"lastError,omitempty"`
}

// senders are all.
type senders struct {
	mtx   sync.Mutex
	byKey map[senderKey]*sender
}

type senderKey struct{ address, job, instance string }

// nameOf is a label's value, as much of it as tells senders apart: what they call themselves
// is theirs to say, and is kept. It is a copy, or the whole series would be.
func nameOf(value string) string {
	const most = 200
	return strings.Clone(strings.ToValidUTF8(value[:min(len(value), most)], "?"))
}

func newSenders() *senders { return &senders{byKey: map[senderKey]*sender{}} }

// of returns the sender with an address whose series has some labels.
func (s *senders) of(address string, ls labels.Labels) *sender {
	key := senderKey{address, nameOf(ls.Get(model.JobLabel)), nameOf(ls.Get(model.InstanceLabel))}
	s.mtx.Lock()
	defer s.mtx.Unlock()
	if known := s.byKey[key]; known != nil {
		return known
	}
	if len(s.byKey) >= mostSenders {
		s.forgetOne()
	}
	made := &sender{Sender: Sender{Address: address, Job: key.job, Instance: key.instance}}
	s.byKey[key] = made
	return made
}

func (s *senders) forgetOne() {
	var oldest senderKey
	var since time.Time
	for key, other := range s.byKey {
		if last := other.status().Last; since.IsZero() || last.Before(since) {
			oldest, since = key, last
		}
	}
	delete(s.byKey, oldest)
}

func (s *senders) all() []Sender {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	out := make([]Sender, 0, len(s.byKey))
	for _, one := range s.byKey {
		out = append(out, one.status())
	}
	slices.SortFunc(out, func(a, b Sender) int {
		return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// declined notes a request of which nothing is known but where it came from.
func (s *senders) declined(now time.Time, address, protocol string, refusal *refusal) {
	s.of(address, labels.EmptyLabels()).note(now, protocol, &delivery.Received{}, result{refusal.name, refusal, refusal.words})
}

// sender is one of them.
type sender struct {
	mtx sync.Mutex
	Sender
}

func (s *sender) note(now time.Time, protocol string, received *delivery.Received, r result) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.Protocol, s.Last, s.LastError = protocol, now, r.words
	s.Requests++
	s.Samples += received.Samples
	for _, n := range received.Rejected {
		s.Rejected += n
	}
	if r.words != "" {
		s.Declined++
	}
}

func (s *sender) status() Sender {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.Sender
}
