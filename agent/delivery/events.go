package delivery

import "github.com/opstrace/opstrace-agent/agent/delivery/remotewrite"

// State is where a destination stands.
type State string

const (
	// Behind: upstream has no queue for the destination, and the drainer ships
	// the backlog to it.
	Behind State = "behind"
	// HandingOver: upstream's queue is being started for it.
	HandingOver State = "handing over"
	// Live: upstream's queue manager tails the WAL and ships.
	Live State = "live"
	// Stopped: the destination is gone, or goes on under another configuration.
	Stopped State = "stopped"
)

// eventKind is what can happen to a destination.
type eventKind uint8

const (
	// acknowledged: the endpoint took a request.
	acknowledged eventKind = iota
	// refused: a request was answered by anything else, or not at all.
	refused
	// drained: the cursor is at the WAL's end, and all before it is settled.
	drained
	// handedOver: upstream's queue runs, and what it will send is known.
	handedOver
	// segmentCut: the WAL began a new segment during the hand-over.
	segmentCut
	// wouldSendAgain: the queue would begin with samples that are delivered.
	wouldSendAgain
	// queueFailed: upstream's queue could not be started.
	queueFailed
	// lagging: a live destination has acknowledged nothing for too long, or its
	// queue is so far back that a truncation could overtake it.
	lagging
	// watcherBegunAgain: upstream's WAL watcher failed and began again at now.
	watcherBegunAgain
	// sequenceDiffers: the queue sends something else than was expected.
	sequenceDiffers
	// unreadable: the WAL cannot be read on where the queue reads it.
	unreadable
	// outgrown: the endpoint may take larger requests than the queue makes.
	outgrown
	// entryChanged: the queue needs something else to connect with.
	entryChanged
	// queueGone: somebody else stopped the queue.
	queueGone
	// stopped: the agent ends.
	stopped
	// reconfigured: the entry has changed or is gone.
	reconfigured
)

var eventNames = [...]string{
	"acknowledged", "refused", "drained", "handed over", "segment cut", "would send again", "queue failed", "lagging",
	"watcher begun again", "sequence differs", "unreadable", "outgrown", "entry changed", "queue gone", "stopped", "reconfigured",
}

// String returns the name of k for test output.
func (k eventKind) String() string { return eventNames[k] }

// event is what happened, with what the decision depends on. All but kind is
// about refused and acknowledged.
type event struct {
	kind eventKind
	// class of the answer.
	class remotewrite.Class
	// there: the answer says that the endpoint has these samples or newer ones.
	there bool
	// before: an earlier request with these samples may have been stored.
	before bool
	// again: the queue's batch holds samples that were delivered before the
	// hand-over.
	again bool
	// onlyAgain: it holds nothing else.
	onlyAgain bool
	// outOfWindow: the answer says that samples are too old or too new.
	outOfWindow bool
	// series: the answer is about what a series is, its labels or a limit.
	series bool
	// overtaken: the samples are dated before a time that the clock had before it
	// was set back, and may be refused for what the endpoint got then.
	overtaken bool
	// unproven: so they are, or may have been refused for good before newer ones were taken:
	// that they are refused for what is there does not tell that they are.
	unproven bool
	// retried: upstream's queue sends the same batch again by itself.
	retried bool
	// alone: the request held a single sample.
	alone bool
	// large: that sample is large by itself.
	large bool
	// emptyAsked: it is known whether the endpoint takes a request without samples.
	emptyAsked bool
	// othersPass: the endpoint takes other requests.
	othersPass bool
	// asked: how the endpoint treats requests of which it refuses a part cannot
	// be found out with this one (any more).
	asked bool
	// oneAsked: whether a single sample of the batch passes is known.
	oneAsked bool
	// vain: enough requests for parts of one batch have been refused.
	vain bool
}

// action is what is to be done about an event.
type action uint8

const (
	// carryOn: nothing but what is being done anyway.
	carryOn action = iota
	// settle: count the samples as delivered.
	settle
	// giveUp: count the samples as refused.
	giveUp
	// doubt: count the samples as uncertain.
	doubt
	// retry: send the same request again after a pause.
	retry
	// askPartial: find out whether the endpoint stored the good samples.
	askPartial
	// narrow: find out which series are refused, of those whose good samples are
	// stored.
	narrow
	// askOne: find out whether a single sample passes.
	askOne
	// askEmpty: find out whether the endpoint takes a request without samples.
	askEmpty
	// split: send the halves by themselves.
	split
	// shrink: send smaller requests from now on, this one in halves.
	shrink
	// handOver: start upstream's queue.
	handOver
	// waitForSegment: try the hand-over again when the WAL has begun a new segment.
	waitForSegment
	// goLive: follow upstream's queue.
	goLive
	// suspect: note that an answer could not be told apart.
	suspect
	// end: leave.
	end
)

var actionNames = [...]string{
	"carry on", "settle", "give up", "doubt", "retry", "ask whether partial writes are stored", "narrow", "ask whether one sample passes",
	"ask whether an empty request passes", "split", "shrink", "hand over", "wait for a segment", "go live", "suspect", "end",
}

// String returns the name of a for test output.
func (a action) String() string { return actionNames[a] }

// partialWrites is what an endpoint does with the good samples of a request of
// which it refuses others (specification of remote write 2.0, "Partial Write").
type partialWrites uint8

const (
	partialUnknown partialWrites = iota
	// partialStored: Cortex, Mimir, Thanos store what they can and answer 400 for
	// the rest, of which they name one. Nothing is sent again: the good samples
	// are there already, and would be refused as out of order.
	partialStored
	// partialRolledBack: Prometheus' receiver stores all of a request or nothing.
	partialRolledBack
)
